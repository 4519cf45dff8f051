use lfbm_images::Intake as DatasetIntake;
use rand::RngExt;

use super::*;
use crate::data::Pixels;

const SIDE: usize = 64;

/// Noise of `seed`, smooth enough to survive a thumbnail, with a little of `other`'s.
fn image(seed: u64, other: u64, share: f32) -> Vec<u8> {
    let noise = |seed: u64| {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let blocks: Vec<f32> = (0..64).map(|_| rng.random_range(0.0..255.0)).collect();
        (0..SIDE * SIDE).map(move |position| {
            let (row, column) = (position / SIDE, position % SIDE);
            blocks[row / 8 * 8 + column / 8]
        })
    };
    let mixed = noise(seed).zip(noise(other));
    mixed
        .map(|(one, other)| (one * (1.0 - share) + other * share) as u8)
        .collect()
}

fn dataset(images: &[Vec<u8>]) -> Dataset {
    Dataset {
        name: "images".to_owned(),
        channels: 1,
        height: SIDE,
        width: SIDE,
        intake: DatasetIntake::STRETCH,
        classes: vec!["good".to_owned()],
        labels: vec![0; images.len()],
        images: Pixels::new(images.concat(), SIDE * SIDE),
        files: (0..images.len())
            .map(|index| format!("{index}.png"))
            .collect(),
        inspected: Vec::new(),
    }
}

#[test]
fn repeated_images_in_the_test_are_a_leak_and_others_are_none() {
    let fitted = (0..6).map(|seed| image(seed, seed, 0.0));
    let repeated = (0..3).map(|seed| image(seed, seed + 100, 0.05));
    let new = (10..16).map(|seed| image(seed, seed, 0.0));
    let images: Vec<_> = fitted.chain(repeated).chain(new).collect();
    let mut dataset = dataset(&images);
    let train: Vec<usize> = (0..5).collect();
    let split = |normal: Vec<usize>, faulty| Split::new(train.clone(), vec![5], normal, faulty);
    let of = |normal, faulty| leak(&dataset, &split(normal, faulty)).unwrap();
    let leaking = of(vec![6, 7, 8], vec![9, 10, 11]).unwrap();
    assert!(leaking.normal > 0.98 && leaking.faulty < 0.7, "{leaking:?}");
    assert!(leaking.is_suspicious());
    let text = leaking.to_string();
    assert!(
        text.contains("--test-list") && text.lines().count() == 1,
        "{text}"
    );
    let fair = of(vec![12, 13, 14], vec![9, 10, 11]).unwrap();
    assert!(!fair.is_suspicious(), "{fair:?}");
    // Faulty images that repeat the fit, too, tell nothing about the normal ones.
    let alike = of(vec![6, 7], vec![8]).unwrap();
    assert!(!alike.is_suspicious(), "{alike:?}");
    assert_eq!(of(vec![12], Vec::new()), None);
    dataset.files.clear();
    assert_eq!(leak(&dataset, &split(vec![6], vec![9])).unwrap(), None);
}

#[test]
fn brightness_contrast_and_colour_do_not_hide_a_duplicate() {
    let one = image(1, 1, 0.0);
    let darker: Vec<u8> = one.iter().map(|value| value / 3 + 20).collect();
    let both = dataset(&[one, darker, vec![7; SIDE * SIDE]]);
    let of = |index| Thumbnails::of(&both, &[index]).unwrap();
    assert!(of(0).highest(&of(1))[0] > 0.99);
    // What is flat is like nothing.
    assert_eq!(of(2).highest(&of(2)), [0.0]);
}

#[test]
fn chains_of_near_duplicates_are_one_group_and_stay_on_one_side() {
    // 0, 1 and 2 change step by step; 3 and 4 are a pair; the others are alone.
    let mut images = vec![
        image(1, 2, 0.0),
        image(1, 2, 0.15),
        image(1, 2, 0.3),
        image(3, 3, 0.0),
        image(3, 4, 0.05),
    ];
    images.extend((10..15).map(|seed| image(seed, seed, 0.0)));
    let dataset = dataset(&images);
    let indices: Vec<usize> = (0..10).collect();
    let groups = Groups::of(&dataset, &indices).unwrap();
    assert_eq!(groups.groups[..2], [vec![0, 1, 2], vec![3, 4]]);
    assert_eq!((groups.groups.len(), groups.correlation), (7, 0.93));
    for seed in 0..20 {
        let held_out = groups.hold_out(4, seed);
        assert!((3..=4).contains(&held_out.len()), "{held_out:?}");
        for group in &groups.groups {
            let inside = group
                .iter()
                .filter(|index| held_out.contains(index))
                .count();
            assert!(inside == 0 || inside == group.len(), "{held_out:?}");
        }
        assert_eq!(held_out, groups.hold_out(4, seed));
    }
}

#[test]
fn images_that_are_all_alike_have_no_groups() {
    let images = vec![image(1, 1, 0.0); 4];
    let error = Groups::of(&dataset(&images), &[0, 1, 2, 3]).unwrap_err();
    assert!(error.to_string().contains("half of the 4"), "{error}");
}
