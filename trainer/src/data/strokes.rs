//! Procedurally drawn digits, so that tests and a first fit need no files.
//!
//! Every digit is a few strokes through control points. Drawing one moves the points a little,
//! applies a random affine map, and draws the Catmull-Rom curve through them with a round pen.

use lfbm_images::Intake;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::{Dataset, Pixels};

/// Rows and columns of an image.
pub const SIDE: usize = 28;
/// Side of the box that a digit is written in, in pixels.
const BOX_SIDE: f32 = 18.0;
const SEGMENTS_PER_SPAN: usize = 8;
/// Standard deviation of a control point, as a share of the box.
const POINT_DEVIATION: f32 = 0.022;

type Point = [f32; 2];

/// Strokes of each digit in the unit square, x to the right and y down.
const DIGITS: [&[&[Point]]; 10] = [
    &[&[
        [0.5, 0.04],
        [0.24, 0.18],
        [0.16, 0.52],
        [0.26, 0.86],
        [0.5, 0.97],
        [0.74, 0.84],
        [0.84, 0.5],
        [0.74, 0.16],
        [0.5, 0.04],
    ]],
    &[
        &[[0.36, 0.22], [0.54, 0.04]],
        &[[0.54, 0.04], [0.52, 0.5], [0.5, 0.97]],
    ],
    &[
        &[
            [0.2, 0.26],
            [0.34, 0.08],
            [0.64, 0.07],
            [0.76, 0.28],
            [0.58, 0.58],
            [0.18, 0.94],
        ],
        &[[0.18, 0.94], [0.5, 0.92], [0.84, 0.94]],
    ],
    &[
        &[
            [0.2, 0.14],
            [0.46, 0.04],
            [0.72, 0.16],
            [0.68, 0.38],
            [0.42, 0.48],
        ],
        &[
            [0.42, 0.48],
            [0.72, 0.56],
            [0.78, 0.78],
            [0.54, 0.96],
            [0.18, 0.88],
        ],
    ],
    &[
        &[[0.46, 0.04], [0.3, 0.36], [0.14, 0.64]],
        &[[0.14, 0.64], [0.5, 0.62], [0.88, 0.62]],
        &[[0.68, 0.34], [0.66, 0.66], [0.64, 0.98]],
    ],
    &[
        &[[0.78, 0.06], [0.54, 0.07], [0.32, 0.07]],
        &[[0.32, 0.07], [0.28, 0.26], [0.25, 0.45]],
        &[
            [0.25, 0.45],
            [0.54, 0.4],
            [0.78, 0.62],
            [0.68, 0.88],
            [0.4, 0.97],
            [0.18, 0.86],
        ],
    ],
    &[&[
        [0.7, 0.05],
        [0.42, 0.22],
        [0.24, 0.56],
        [0.3, 0.88],
        [0.56, 0.97],
        [0.76, 0.78],
        [0.64, 0.56],
        [0.42, 0.56],
        [0.26, 0.72],
    ]],
    &[
        &[[0.16, 0.1], [0.48, 0.08], [0.82, 0.08]],
        &[[0.82, 0.08], [0.56, 0.5], [0.42, 0.97]],
    ],
    &[&[
        [0.52, 0.48],
        [0.28, 0.3],
        [0.34, 0.09],
        [0.62, 0.06],
        [0.74, 0.26],
        [0.52, 0.48],
        [0.24, 0.72],
        [0.36, 0.94],
        [0.64, 0.95],
        [0.78, 0.72],
        [0.52, 0.48],
    ]],
    &[&[
        [0.74, 0.26],
        [0.56, 0.46],
        [0.32, 0.42],
        [0.26, 0.2],
        [0.46, 0.05],
        [0.7, 0.12],
        [0.75, 0.4],
        [0.68, 0.7],
        [0.58, 0.97],
    ]],
];

/// `count` digits, the ten classes in turn; determined by `seed`.
pub fn dataset(count: usize, seed: u64) -> Dataset {
    let digits = (0..count).map(|index| (index % 10) as u8);
    let bytes = digits
        .clone()
        .enumerate()
        .flat_map(|(index, digit)| {
            draw(
                digit,
                seed ^ (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            )
        })
        .collect();
    Dataset {
        name: "strokes".to_owned(),
        channels: 1,
        height: SIDE,
        width: SIDE,
        intake: Intake::STRETCH,
        classes: (0..10).map(|digit| digit.to_string()).collect(),
        labels: digits.map(u32::from).collect(),
        images: Pixels::new(bytes, SIDE * SIDE),
        files: Vec::new(),
        inspected: Vec::new(),
    }
}

/// One digit, the last of `digit`'s decimal places: 28 x 28 bytes, white on black.
pub fn draw(digit: u8, seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let place = affine(&mut rng);
    let radius = rng.random_range(0.8_f32..1.6);
    let curves: Vec<Vec<Point>> = DIGITS[usize::from(digit % 10)]
        .iter()
        .map(|stroke| {
            let moved: Vec<Point> = stroke
                .iter()
                .map(|point| {
                    let mut jitter = || POINT_DEVIATION * normal(&mut rng);
                    place([point[0] + jitter(), point[1] + jitter()])
                })
                .collect();
            curve(&moved)
        })
        .collect();
    let mut image = Vec::with_capacity(SIDE * SIDE);
    for row in 0..SIDE {
        for column in 0..SIDE {
            let pixel = [column as f32 + 0.5, row as f32 + 0.5];
            let spans = curves.iter().flat_map(|curve| curve.windows(2));
            let distance = spans
                .map(|span| distance(pixel, span[0], span[1]))
                .fold(f32::MAX, f32::min);
            // A pixel at the pen's edge is half covered.
            let coverage = (radius + 0.5 - distance).clamp(0.0, 1.0);
            image.push((coverage * 255.0).round() as u8);
        }
    }
    image
}

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    StandardNormal.sample(rng)
}

/// From the unit square to pixels: slant, tilt, size and place vary.
fn affine(rng: &mut ChaCha8Rng) -> impl Fn(Point) -> Point + use<> {
    let (sin, cos) = (0.08 * normal(rng)).sin_cos();
    let slant = 0.15 + 0.15 * normal(rng);
    let width = BOX_SIDE * rng.random_range(0.75..1.05);
    let height = BOX_SIDE * rng.random_range(0.95..1.1);
    let centre = SIDE as f32 / 2.0;
    let shift = [0.6 * normal(rng), 0.6 * normal(rng)];
    move |[x, y]| {
        let (x, y) = ((x - 0.5) * width, (y - 0.5) * height);
        let x = x - slant * y;
        [
            centre + shift[0] + cos * x - sin * y,
            centre + shift[1] + sin * x + cos * y,
        ]
    }
}

/// Points on the Catmull-Rom curve through `points`.
fn curve(points: &[Point]) -> Vec<Point> {
    let at = |index: isize| points[index.clamp(0, points.len() as isize - 1) as usize];
    let mut curve = Vec::with_capacity(points.len() * SEGMENTS_PER_SPAN);
    for span in 0..points.len() as isize - 1 {
        let [p0, p1, p2, p3] = [at(span - 1), at(span), at(span + 1), at(span + 2)];
        for part in 0..=SEGMENTS_PER_SPAN {
            let t = part as f32 / SEGMENTS_PER_SPAN as f32;
            let along = |axis: usize| {
                let [a, b, c, d] = [p0[axis], p1[axis], p2[axis], p3[axis]];
                let cubic = 3.0 * (b - c) + d - a;
                let square = 2.0 * a - 5.0 * b + 4.0 * c - d;
                0.5 * (2.0 * b + t * (c - a + t * (square + t * cubic)))
            };
            curve.push([along(0), along(1)]);
        }
    }
    curve
}

fn distance(p: Point, a: Point, b: Point) -> f32 {
    let (dx, dy) = (b[0] - a[0], b[1] - a[1]);
    let square = dx * dx + dy * dy;
    let t = if square > 0.0 {
        (((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / square).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (p[0] - a[0] - t * dx).hypot(p[1] - a[1] - t * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides() {
        assert_eq!(dataset(30, 1), dataset(30, 1));
        assert_ne!(dataset(30, 1), dataset(30, 2));
        let one = dataset(30, 1);
        assert_ne!(one.image(0), one.image(10), "two zeros differ");
    }

    #[test]
    fn digits_stay_inside_and_can_be_told_apart() {
        let (seen, fresh) = (dataset(2000, 1), dataset(500, 2));
        let mut means = vec![vec![0.0_f32; seen.pixels()]; 10];
        for index in 0..seen.len() {
            let mean = &mut means[seen.labels[index] as usize];
            mean.iter_mut()
                .zip(seen.gather(&[index]))
                .for_each(|(mean, value)| *mean += value / 200.0);
        }
        let right = (0..fresh.len()).filter(|&index| {
            let image = fresh.gather(&[index]);
            let error = |mean: &[f32]| -> f32 {
                mean.iter().zip(&image).map(|(a, b)| (a - b).powi(2)).sum()
            };
            let nearest = (0..10).min_by(|&a, &b| error(&means[a]).total_cmp(&error(&means[b])));
            nearest == Some(fresh.labels[index] as usize)
        });
        let right = right.count();
        assert!(
            right > 400,
            "{right} of 500 are nearest to their own class's mean"
        );
        for index in 0..seen.len() {
            let image = seen.gather(&[index]);
            let ink: f32 = image.iter().sum();
            let edge: f32 = (0..SIDE).map(|i| image[i] + image[i * SIDE]).sum();
            assert!(
                ink > 15.0 && edge < 0.2 * ink,
                "digit {index}: ink {ink}, {edge} at the edge"
            );
        }
    }
}
