use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

const SHAPE: Shape = Shape {
    channels: 3,
    height: 48,
    width: 64,
};

/// Stripes, which say by their direction which image they are of.
fn stripes(shape: Shape, rows: f32, columns: f32) -> Vec<f32> {
    let plane = (0..shape.positions()).map(|position| {
        let (row, column) = (position / shape.width, position % shape.width);
        0.5 + 0.4 * (rows * row as f32 + columns * column as f32).sin()
    });
    let plane: Vec<f32> = plane.collect();
    plane.repeat(shape.channels)
}

fn drawn(kind: FaultKind, image: &[f32], shape: Shape, seed: u64) -> Faulty {
    let other = stripes(shape, 0.0, 0.9);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    draw_fault_of(kind, image, shape, &other, &mut rng).unwrap()
}

/// The mean change of the pixels in the mask, in the channel that changes most.
fn change(before: &[f32], faulty: &Faulty, shape: Shape) -> f32 {
    let pixels = faulty.mask.iter().filter(|&&value| value == 1).count() as f32;
    let planes = before
        .chunks(shape.positions())
        .zip(faulty.image.chunks(shape.positions()));
    planes
        .map(|(before, after)| {
            let changes = before.iter().zip(after).map(|(a, b)| (a - b).abs());
            let inside = changes.zip(&faulty.mask).filter(|(_, value)| **value == 1);
            inside.map(|(change, _)| change).sum::<f32>() / pixels
        })
        .fold(0.0, f32::max)
}

#[test]
fn every_fault_is_inside_its_mask_and_can_be_seen() {
    let image = stripes(SHAPE, 0.7, 0.0);
    for kind in FaultKind::ALL {
        for seed in 0..40 {
            let faulty = drawn(kind, &image, SHAPE, seed);
            assert_eq!(faulty.image.len(), image.len());
            assert!(faulty.image.iter().all(|value| (0.0..=1.0).contains(value)));
            let count = faulty.mask.iter().filter(|&&value| value == 1).count();
            assert!(
                count > 0 && count < SHAPE.positions() / 2,
                "{kind:?} {seed}"
            );
            assert!(
                change(&image, &faulty, SHAPE) >= LEAST_CHANGE,
                "{kind:?} {seed}"
            );
            // Beside the mask there is only the soft edge: less of it than of the fault.
            let outside = image.iter().zip(&faulty.image).enumerate();
            let far = outside.filter(|(index, (before, after))| {
                faulty.mask[index % SHAPE.positions()] == 0 && (*before - *after).abs() > 0.5
            });
            assert_eq!(far.count(), 0, "{kind:?} {seed}");
        }
    }
}

#[test]
fn faults_are_a_function_of_images_and_seed() {
    let image = stripes(SHAPE, 0.7, 0.0);
    for kind in FaultKind::ALL {
        let first = drawn(kind, &image, SHAPE, 1);
        assert_eq!(first, drawn(kind, &image, SHAPE, 1));
        assert_ne!(first, drawn(kind, &image, SHAPE, 2));
    }
}

#[test]
fn strengths_differ() {
    let image = stripes(SHAPE, 0.7, 0.0);
    let changes: Vec<f32> = (0..60)
        .map(|seed| {
            change(
                &image,
                &drawn(FaultKind::Scratch, &image, SHAPE, seed),
                SHAPE,
            )
        })
        .collect();
    let weakest = changes.iter().copied().fold(f32::MAX, f32::min);
    let strongest = changes.iter().copied().fold(0.0, f32::max);
    assert!(weakest < 0.15 && strongest > 0.3, "{weakest} {strongest}");
}

#[test]
fn an_image_that_shows_no_erasure_is_scratched() {
    let shape = Shape {
        channels: 1,
        height: 8,
        width: 8,
    };
    for value in [0.0, 0.5, 1.0] {
        let image = vec![value; shape.values()];
        for seed in 0..20 {
            let faulty = drawn(FaultKind::Erased, &image, shape, seed);
            assert_eq!(faulty.kind, FaultKind::Scratch);
            assert!(change(&image, &faulty, shape) >= 0.25, "{value} {seed}");
        }
    }
}

#[test]
fn all_kinds_are_drawn() {
    let image = stripes(SHAPE, 0.7, 0.0);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut kinds: Vec<FaultKind> = (0..100)
        .map(|_| draw_fault(&image, SHAPE, &image, &mut rng).unwrap().kind)
        .collect();
    kinds.dedup();
    for kind in FaultKind::ALL {
        assert!(kinds.contains(&kind), "{kind:?}");
    }
}

#[test]
fn what_is_no_image_of_the_shape_is_refused() {
    let image = stripes(SHAPE, 0.7, 0.0);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let error = draw_fault(&image, SHAPE, &image[1..], &mut rng).unwrap_err();
    let (expected, got) = (image.len(), image.len() - 1);
    assert_eq!(error, FaultError::Shape { expected, got });
    let small = Shape { height: 7, ..SHAPE };
    let image = stripes(small, 0.7, 0.0);
    let error = draw_fault(&image, small, &image, &mut rng).unwrap_err();
    assert!(matches!(
        error,
        FaultError::TooSmall {
            height: 7,
            width: 64
        }
    ));
}
