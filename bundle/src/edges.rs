//! Edge maps: how much edge of which orientation lies where in an image.
//!
//! Distances between pixels see a stroke that is moved by its own width as another stroke. Between
//! histograms of gradient orientations, pooled over neighbourhoods (Dalal and Triggs, CVPR 2005),
//! they see where strokes run, and little of their thickness.

use std::f32::consts::TAU;

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

/// From an image x to its edge map.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgeMaps {
    /// C, H, W.
    image: [usize; 3],
    /// Pixels along each side that are averaged to one.
    reduction: usize,
    /// Weights of a neighbourhood, from `-POOLING_RADIUS` to `POOLING_RADIUS`.
    pooling: [f32; 2 * POOLING_RADIUS + 1],
}

impl EdgeMaps {
    /// Of images of C x H x W values; `None` when a size is 0.
    pub fn new(image: [usize; 3]) -> Option<Self> {
        let [_, height, width] = image;
        let offset = |index: usize| index as f32 - POOLING_RADIUS as f32;
        let gaussian = |at: f32| (-0.5 * (at / POOLING_SIGMA).powi(2)).exp();
        (!image.contains(&0)).then(|| Self {
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
        let [height, width] = self.reduced();
        let edges = edges(&self.grey(x), width);
        let mut map = Vec::with_capacity(self.size());
        for plane in edges.chunks(height * width) {
            self.pool(plane, width, &mut map);
        }
        let length = map.iter().sum::<f32>().sqrt();
        if length > 0.0 {
            for value in &mut map {
                *value = value.sqrt() / length;
            }
        }
        map
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

    /// Adds the neighbourhoods' sums of one orientation's plane.
    fn pool(&self, plane: &[f32], width: usize, map: &mut Vec<f32>) {
        let height = plane.len() / width;
        // Along columns first.
        for row in centres(height) {
            let mut line = vec![0.0; width];
            for (weight, from) in self.around(row, height) {
                for (sum, value) in line.iter_mut().zip(&plane[from * width..][..width]) {
                    *sum += weight * value;
                }
            }
            map.extend(centres(width).map(|column| {
                self.around(column, width)
                    .map(|(weight, from)| weight * line[from])
                    .sum::<f32>()
            }));
        }
    }

    /// Weights and positions of a neighbourhood, inside a side of that length.
    fn around(&self, centre: usize, length: usize) -> impl Iterator<Item = (f32, usize)> {
        let positions = centre as isize - POOLING_RADIUS as isize..;
        let weighted = self.pooling.into_iter().zip(positions);
        weighted.filter_map(move |(weight, at)| {
            let at = usize::try_from(at).ok()?;
            (at < length).then_some((weight, at))
        })
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

/// Sobel gradients of an image of rows of `width`, each magnitude shared between the two
/// orientations next to it: a plane per orientation.
fn edges(image: &[f32], width: usize) -> Vec<f32> {
    let height = image.len() / width;
    let mut planes = vec![0.0; ORIENTATIONS * image.len()];
    // An image goes on beyond its border as it ends there.
    let at = |row: isize, column: isize| {
        let row = row.clamp(0, height as isize - 1) as usize;
        let column = column.clamp(0, width as isize - 1) as usize;
        image[row * width + column]
    };
    for row in 0..height as isize {
        for column in 0..width as isize {
            let across = |d: isize| at(row + d, column + 1) - at(row + d, column - 1);
            let along = |d: isize| at(row + 1, column + d) - at(row - 1, column + d);
            let x = across(-1) + 2.0 * across(0) + across(1);
            let y = along(-1) + 2.0 * along(0) + along(1);
            let magnitude = x.hypot(y);
            if magnitude > 0.0 {
                let orientation = y.atan2(x).rem_euclid(TAU) / TAU * ORIENTATIONS as f32;
                let (below, share) = (orientation as usize, orientation.fract());
                let place = row as usize * width + column as usize;
                let mut add = |orientation: usize, value: f32| {
                    planes[orientation % ORIENTATIONS * image.len() + place] += value;
                };
                add(below, magnitude * (1.0 - share));
                add(below + 1, magnitude * share);
            }
        }
    }
    planes
}

#[cfg(test)]
mod tests {
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
        let maps = EdgeMaps::new([1, 28, 28]).unwrap();
        assert_eq!(maps.size(), ORIENTATIONS * 14 * 14);
        let step = |low: f32, high: f32, at: usize| if at < 14 { low } else { high };
        for (orientation, x) in [
            (0, image(28, 28, |_, c| step(-1.0, 1.0, c))),
            (2, image(28, 28, |r, _| step(-1.0, 1.0, r))),
            (4, image(28, 28, |_, c| step(1.0, -1.0, c))),
            (6, image(28, 28, |r, _| step(1.0, -1.0, r))),
            (1, image(28, 28, |r, c| (r + c) as f32)),
        ] {
            let energy = by_orientation(&maps.of(&x));
            assert!((energy.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(energy[orientation] > 0.8, "{orientation}: {energy:?}");
        }
    }

    #[test]
    fn contrast_and_brightness_do_not_matter() {
        let maps = EdgeMaps::new([1, 20, 12]).unwrap();
        let x = image(20, 12, |r, c| ((r * 7 + c * 5) % 11) as f32 / 11.0);
        let other: Vec<f32> = x.iter().map(|v| 0.3 * v - 0.5).collect();
        for (a, b) in maps.of(&x).iter().zip(maps.of(&other)) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        assert!(maps.of(&[0.4; 240]).iter().all(|value| *value == 0.0));
    }

    /// A colour image four times as large, each pixel four by four of one grey, has the same map.
    #[test]
    fn large_images_are_averaged_down() {
        let value = |r: usize, c: usize| ((r * r + 3 * c) % 13) as f32;
        let small = image(32, 32, value);
        let plane = image(128, 128, |r, c| value(r / 4, c / 4));
        let large = [&plane[..], &plane, &plane].concat();
        let expected = EdgeMaps::new([1, 32, 32]).unwrap().of(&small);
        let maps = EdgeMaps::new([3, 128, 128]).unwrap();
        assert_eq!(maps.size(), expected.len());
        for (got, expected) in maps.of(&large).iter().zip(expected) {
            assert!((got - expected).abs() < 1e-3, "{got} {expected}");
        }
        assert_eq!(EdgeMaps::new([1, 0, 3]), None);
    }
}
