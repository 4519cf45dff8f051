//! HOG descriptors: how much edge of which orientation lies where in an image.
//!
//! Distances between pixels see a stroke that is moved by its own width as another stroke. Between
//! histograms of gradient orientations, pooled over neighbourhoods (Dalal and Triggs, CVPR 2005),
//! they see where strokes run, and little of their thickness.

use std::f32::consts::FRAC_PI_4;
use std::ops::Range;

use multiversion::multiversion;

use crate::error::FitError;

/// Orientations that are told apart; light to dark is another one than dark to light.
const ORIENTATIONS: usize = 8;
/// Pixels from one pooled neighbourhood to the next.
const STRIDE: usize = 2;
/// Neighbourhoods are Gaussian, of this standard deviation in pixels ...
const POOLING_SIGMA: f32 = 1.5;
/// ... and end after so many.
const POOLING_RADIUS: usize = 5;
/// Larger images are averaged down until neither side has more pixels.
const LARGEST_SIDE: usize = 32;

/// Of a gradient magnitude, by orientation.
type Shares = [f32; ORIENTATIONS];

/// From an image x to its HOG descriptor.
#[derive(Clone, Debug, PartialEq)]
pub struct Hog {
    /// C, H, W.
    image: [usize; 3],
    /// Pixels along each side that are averaged to one.
    reduction: usize,
    /// Weights of a neighbourhood, from `-POOLING_RADIUS` to `POOLING_RADIUS`.
    pooling: [f32; 2 * POOLING_RADIUS + 1],
}

impl Hog {
    /// Of images of C x H x W values.
    ///
    /// # Errors
    /// When a size is 0.
    pub fn new(image: [usize; 3]) -> Result<Self, FitError> {
        if image.contains(&0) {
            return Err(FitError::NoPixels { image });
        }
        let [_, height, width] = image;
        let offset = |index: usize| index as f32 - POOLING_RADIUS as f32;
        let gaussian = |at: f32| (-0.5 * (at / POOLING_SIGMA).powi(2)).exp();
        Ok(Self {
            image,
            reduction: height.max(width).div_ceil(LARGEST_SIDE),
            pooling: std::array::from_fn(|index| gaussian(offset(index))),
        })
    }

    /// C, H, W of the images.
    pub fn image(&self) -> [usize; 3] {
        self.image
    }

    /// Values in a map.
    pub fn size(&self) -> usize {
        let [rows, columns] = self.reduced().map(pooled);
        ORIENTATIONS * rows * columns
    }

    /// The map of x, C H W values: the square roots of the pooled gradient magnitudes by
    /// orientation, at length 1. All zero for an image without an edge.
    pub fn of(&self, x: &[f32]) -> Vec<f32> {
        let [_, width] = self.reduced();
        let pooled = pool(self, &edges(&self.grey(x), width), width);
        roots(&pooled)
    }

    /// H and W after the reduction.
    fn reduced(&self) -> [usize; 2] {
        let [_, height, width] = self.image;
        [height, width].map(|side| (side / self.reduction).max(1))
    }

    /// Mean over channels and over the pixels that become one.
    fn grey(&self, x: &[f32]) -> Vec<f32> {
        let [_, _, width] = self.image;
        let [rows, columns] = self.reduced();
        let mut grey = vec![0.0; rows * columns];
        let share = (x.len() as f32).recip() * grey.len() as f32;
        for plane in x.chunks(self.image[1] * width) {
            for (row, line) in plane.chunks(width).take(rows * self.reduction).enumerate() {
                let into = &mut grey[row / self.reduction * columns..][..columns];
                for (sum, cell) in into.iter_mut().zip(line.chunks(self.reduction)) {
                    *sum += cell.iter().sum::<f32>() * share;
                }
            }
        }
        grey
    }

    /// A neighbourhood inside a side of that length: where it lies, and its weights.
    fn around(&self, centre: usize, length: usize) -> (Range<usize>, &[f32]) {
        let first = centre.saturating_sub(POOLING_RADIUS);
        let last = length.min(centre + POOLING_RADIUS + 1);
        let before = POOLING_RADIUS - (centre - first);
        (first..last, &self.pooling[before..][..last - first])
    }
}

/// Neighbourhoods along a side.
fn pooled(side: usize) -> usize {
    centres(side).count()
}

/// Where they have their centres.
fn centres(side: usize) -> impl Iterator<Item = usize> {
    ((STRIDE / 2).min(side - 1)..side).step_by(STRIDE)
}

/// What every neighbourhood has of each orientation.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn pool(hog: &Hog, pixels: &[Shares], width: usize) -> Vec<Shares> {
    let height = pixels.len() / width;
    let mut pooled = Vec::with_capacity(hog.size() / ORIENTATIONS);
    let mut line = vec![[0.0; ORIENTATIONS]; width];
    for row in centres(height) {
        line.fill([0.0; ORIENTATIONS]);
        let (rows, weights) = hog.around(row, height);
        let lines = pixels[rows.start * width..].chunks(width);
        for (weight, from) in weights.iter().zip(lines) {
            for (sums, pixel) in line.iter_mut().zip(from) {
                add(sums, *weight, pixel);
            }
        }
        for column in centres(width) {
            let mut sums = [0.0; ORIENTATIONS];
            let (columns, weights) = hog.around(column, width);
            for (weight, pixel) in weights.iter().zip(&line[columns]) {
                add(&mut sums, *weight, pixel);
            }
            pooled.push(sums);
        }
    }
    pooled
}

/// The square roots, orientation after orientation, at length 1.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn roots(pooled: &[Shares]) -> Vec<f32> {
    let mut sums = [0.0; ORIENTATIONS];
    for shares in pooled {
        add(&mut sums, 1.0, shares);
    }
    let square = sums.iter().sum::<f32>();
    let mut map = vec![0.0; ORIENTATIONS * pooled.len()];
    // NaN stays NaN.
    if square != 0.0 {
        for (orientation, plane) in map.chunks_exact_mut(pooled.len()).enumerate() {
            for (value, shares) in plane.iter_mut().zip(pooled) {
                *value = (shares[orientation] / square).sqrt();
            }
        }
    }
    map
}

#[inline(always)]
fn add(sums: &mut Shares, weight: f32, shares: &Shares) {
    for (sum, share) in sums.iter_mut().zip(shares) {
        *sum += weight * share;
    }
}

/// Sobel gradients of an image of rows of `width`.
fn edges(image: &[f32], width: usize) -> Vec<Shares> {
    let height = image.len() / width;
    let (mut x, mut y) = (vec![0.0; image.len()], vec![0.0; image.len()]);
    // Borders are padded by replication.
    let line = |row: usize| &image[row.min(height - 1) * width..][..width];
    let (mut mean, mut slope) = (vec![0.0; width + 2], vec![0.0; width + 2]);
    for row in 0..height {
        let (above, here, below) = (line(row.saturating_sub(1)), line(row), line(row + 1));
        for column in 0..width {
            mean[column + 1] = above[column] + 2.0 * here[column] + below[column];
            slope[column + 1] = below[column] - above[column];
        }
        for values in [&mut mean, &mut slope] {
            values[0] = values[1];
            values[width + 1] = values[width];
        }
        for column in 0..width {
            x[row * width + column] = mean[column + 2] - mean[column];
            y[row * width + column] = slope[column] + 2.0 * slope[column + 1] + slope[column + 2];
        }
    }
    share_out(&x, &y)
}

/// Shares the magnitudes of gradients (x, y) between the two orientations next to each.
#[multiversion(targets("x86_64+avx512f", "x86_64+avx2"))]
fn share_out(x: &[f32], y: &[f32]) -> Vec<Shares> {
    let mut magnitudes = vec![0.0; x.len()];
    let mut orientations = vec![0.0; x.len()];
    let polar = magnitudes.iter_mut().zip(&mut orientations);
    for ((x, y), (magnitude, orientation)) in x.iter().zip(y).zip(polar) {
        let (across, down) = (x.abs(), y.abs());
        let longer = across.max(down).max(f32::MIN_POSITIVE);
        let octant = arctangent(across.min(down) / longer) / FRAC_PI_4;
        let quadrant = if down > across { 2.0 - octant } else { octant };
        let half = if *x < 0.0 { 4.0 - quadrant } else { quadrant };
        *orientation = if *y < 0.0 { 8.0 - half } else { half };
        *magnitude = (x * x + y * y).sqrt();
    }
    let circle = ORIENTATIONS as f32;
    let mut all = vec![[0.0; ORIENTATIONS]; x.len()];
    let polar = magnitudes.iter().zip(&orientations);
    for ((magnitude, orientation), shares) in polar.zip(&mut all) {
        for (index, share) in shares.iter_mut().enumerate() {
            let apart = (orientation - index as f32).abs();
            *share = magnitude * (1.0 - apart.min(circle - apart)).max(0.0);
        }
    }
    all
}

/// To 1e-7 for t from 0 to 1 (Abramowitz and Stegun, 1964, 4.4.49), and unlike the library's a loop
/// of it is vectors.
#[inline(always)]
fn arctangent(t: f32) -> f32 {
    const COEFFICIENTS: [f32; 9] = [
        0.002_866_225_7,
        -0.016_165_737,
        0.042_909_614,
        -0.075_289_64,
        0.106_562_64,
        -0.142_089,
        0.199_935_51,
        -0.333_331_45,
        1.0,
    ];
    let square = t * t;
    t * COEFFICIENTS
        .iter()
        .fold(0.0, |sum, coefficient| sum * square + coefficient)
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;

    /// Energy of a map by orientation.
    fn by_orientation(map: &[f32]) -> Vec<f32> {
        let planes = map.chunks(map.len() / ORIENTATIONS);
        planes
            .map(|plane| plane.iter().map(|v| v * v).sum())
            .collect()
    }

    fn image(height: usize, width: usize, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let value = &value;
        (0..height)
            .flat_map(|r| (0..width).map(move |c| value(r, c)))
            .collect()
    }

    #[test]
    fn an_edge_has_one_orientation() {
        let hog = Hog::new([1, 28, 28]).unwrap();
        assert_eq!(hog.size(), ORIENTATIONS * 14 * 14);
        let step = |low: f32, high: f32, at: usize| if at < 14 { low } else { high };
        for (orientation, x) in [
            (0, image(28, 28, |_, c| step(-1.0, 1.0, c))),
            (2, image(28, 28, |r, _| step(-1.0, 1.0, r))),
            (4, image(28, 28, |_, c| step(1.0, -1.0, c))),
            (6, image(28, 28, |r, _| step(1.0, -1.0, r))),
            (1, image(28, 28, |r, c| (r + c) as f32)),
        ] {
            let energy = by_orientation(&hog.of(&x));
            assert!((energy.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(energy[orientation] > 0.8, "{orientation}: {energy:?}");
        }
    }

    #[test]
    fn a_magnitude_is_shared_by_its_angle() {
        let n = 1000;
        let angles = || (0..n).map(|index| index as f32 / n as f32 * TAU);
        let x: Vec<_> = angles().map(|angle| 3.0 * angle.cos()).collect();
        let y: Vec<_> = angles().map(|angle| 3.0 * angle.sin()).collect();
        let shares = share_out(&x, &y);
        for (index, angle) in angles().enumerate() {
            let orientation = angle / TAU * ORIENTATIONS as f32;
            for (plane, got) in shares[index].iter().enumerate() {
                let expected = match (plane, orientation as usize, orientation.fract()) {
                    (plane, below, share) if plane == below => 3.0 * (1.0 - share),
                    (plane, below, share) if plane == (below + 1) % ORIENTATIONS => 3.0 * share,
                    _ => 0.0,
                };
                assert!(
                    (got - expected).abs() < 1e-5,
                    "{angle} {plane}: {got} {expected}"
                );
            }
        }
        assert_eq!(share_out(&[0.0], &[0.0]), [[0.0; ORIENTATIONS]]);
    }

    #[test]
    fn contrast_and_brightness_do_not_matter() {
        let hog = Hog::new([1, 20, 12]).unwrap();
        let x = image(20, 12, |r, c| ((r * 7 + c * 5) % 11) as f32 / 11.0);
        let other: Vec<f32> = x.iter().map(|v| 0.3 * v - 0.5).collect();
        for (a, b) in hog.of(&x).iter().zip(hog.of(&other)) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        assert!(hog.of(&[0.4; 240]).iter().all(|value| *value == 0.0));
        let mut broken = x;
        broken[100] = f32::NAN;
        assert!(hog.of(&broken).iter().all(|value| value.is_nan()));
    }

    /// A colour image four times as large, each pixel four by four of one grey, has the same map.
    #[test]
    fn large_images_are_averaged_down() {
        let value = |r: usize, c: usize| ((r * r + 3 * c) % 13) as f32;
        let small = image(32, 32, value);
        let plane = image(128, 128, |r, c| value(r / 4, c / 4));
        let large = [&plane[..], &plane, &plane].concat();
        let expected = Hog::new([1, 32, 32]).unwrap().of(&small);
        let hog = Hog::new([3, 128, 128]).unwrap();
        assert_eq!(hog.size(), expected.len());
        for (got, expected) in hog.of(&large).iter().zip(expected) {
            assert!((got - expected).abs() < 1e-3, "{got} {expected}");
        }
        let image = [1, 0, 3];
        assert_eq!(Hog::new(image), Err(FitError::NoPixels { image }));
    }
}
