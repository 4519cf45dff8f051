//! Nearest normal images, as vectors in the first principal components of normal ones.

mod blocks;
mod projection;

use rayon::prelude::*;

use crate::bytes::{Reader, product, to_count};
use crate::error::{CalibrationError, FitError, check_finite, check_length};
use crate::nearest::Nearest;
use crate::sample::some_of;
use blocks::Blocks;
use projection::Projection;

/// Nearest images that are compared with.
pub const NEIGHBOURS: usize = 10;
/// Keeps the distance of an image that is there many times from dividing by zero.
const SMALLEST_RADIUS: f32 = 1e-6;
/// Set in the number of images of a file that holds their numbers.
const NUMBERED: u64 = 1 << 63;

/// How far an image is from normal ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KnnDistance {
    /// Distance to the nearest one, in units of the vectors.
    pub nearest: f64,
    /// Mean distance to the nearest [`NEIGHBOURS`], over the mean of their own such distances: 1
    /// for an image that is as far from them as they are from theirs.
    pub relative: f64,
}

/// Normal images to compare others with: `(x - mean) basis` of their vectors x, a byte a component.
#[derive(Clone, PartialEq)]
pub struct Neighbours {
    projection: Projection,
    images: Blocks,
    /// Mean distance of each image to its own nearest ones, n.
    radius: Vec<f32>,
    /// The number of each image, by which its file is named, n; `None` where files have no names.
    numbers: Option<Vec<u32>>,
}

impl std::fmt::Debug for Neighbours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Neighbours")
            .field("images", &self.len())
            .field("components", &self.components())
            .finish_non_exhaustive()
    }
}

impl Neighbours {
    /// From vectors x (n x D), their mean (D) and directions (D x p).
    ///
    /// # Errors
    /// When the lengths do not fit, there are not more than [`NEIGHBOURS`] images, or a value is NaN or
    /// infinite.
    pub fn new(mean: Vec<f32>, basis: &[f32], x: &[f32]) -> Result<Self, FitError> {
        let projection = Projection::new(mean, basis)?;
        let projected = projection.of_all(x)?;
        Self::of_components(projection, &projected, None)
    }

    /// As [`Self::new`], with images that have the numbers 0 to n - 1, which [`Self::nearest`] tells.
    ///
    /// # Errors
    /// Those of [`Self::new`].
    pub fn numbered(mean: Vec<f32>, basis: &[f32], x: &[f32]) -> Result<Self, FitError> {
        let projection = Projection::new(mean, basis)?;
        let projected = projection.of_all(x)?;
        let numbers: Vec<u32> = (0..)
            .take(projected.len() / projection.components())
            .collect();
        Self::of_components(projection, &projected, Some(&numbers))
    }

    /// With the vectors x (n x D) of further images, in the same directions; where images have numbers, these
    /// have the next ones. Of the stored images a random subset stays, so that there are at most `most`. The
    /// bytes of those are written anew over the range of all, which moves each component by half a step of a
    /// byte at most.
    ///
    /// # Errors
    /// When the lengths do not fit, `most` leaves too few images, or a value is NaN or infinite.
    pub fn extended(&self, x: &[f32], most: usize, seed: u64) -> Result<Self, FitError> {
        let new = self.projection.of_all(x)?;
        let added = new.len() / self.components();
        // In the order of their numbers, so that in another index of the same images the same ones stay.
        let mut stored: Vec<usize> = (0..self.len()).collect();
        if let Some(numbers) = &self.numbers {
            stored.sort_unstable_by_key(|&index| numbers[index]);
        }
        let kept = some_of(self.len(), most.saturating_sub(added), seed);
        let kept: Vec<usize> = kept.into_iter().map(|place| stored[place]).collect();
        let rows = kept.iter().flat_map(|&index| self.images.row(index));
        let all: Vec<f32> = rows.chain(new).collect();
        let numbers = self.numbers.as_ref().map(|numbers| -> Vec<u32> {
            let next = self.next_number();
            let stored = kept.iter().map(|&index| numbers[index]);
            let new = (0..).take(added).map(|number| next.saturating_add(number));
            stored.chain(new).collect()
        });
        Self::of_components(self.projection.clone(), &all, numbers.as_deref())
    }

    /// From the components of images (n x p), and their numbers (n).
    fn of_components(
        projection: Projection,
        components: &[f32],
        numbers: Option<&[u32]>,
    ) -> Result<Self, FitError> {
        let (images, order) = Blocks::quantize(components, projection.components())?;
        let numbers = numbers.map(|numbers| order.iter().map(|&index| numbers[index]).collect());
        let radius = (0..images.len())
            .into_par_iter()
            .map(|index| {
                let nearest = images.nearest(&images.row(index), Some(index));
                mean_of(nearest.iter().map(|(distance, _)| *distance)) as f32
            })
            .collect();
        Self::assemble(projection, images, radius, numbers)
    }

    fn assemble(
        projection: Projection,
        images: Blocks,
        radius: Vec<f32>,
        numbers: Option<Vec<u32>>,
    ) -> Result<Self, FitError> {
        let components = projection.components();
        check_length(
            "the components of an image",
            components,
            images.components(),
        )?;
        check_length(
            "the mean distances to neighbours",
            images.len(),
            radius.len(),
        )?;
        if images.len() <= NEIGHBOURS {
            return Err(FitError::TooFew {
                what: "images to compare with",
                fewest: NEIGHBOURS + 1,
                got: images.len(),
            });
        }
        let finite = radius.iter().map(|radius| radius.is_finite());
        check_finite("the mean distances to neighbours", finite)?;
        Ok(Self {
            projection,
            images,
            radius,
            numbers,
        })
    }

    /// The numbers of the images, if they have some.
    pub fn numbers(&self) -> Option<&[u32]> {
        self.numbers.as_deref()
    }

    /// The number after the largest one.
    pub(crate) fn next_number(&self) -> u32 {
        let largest = self.numbers().and_then(|numbers| numbers.iter().max());
        largest.map_or(0, |number| number.saturating_add(1))
    }

    /// The image nearest to the vector x, D values; `None` where a value is NaN, or images have no numbers.
    pub fn nearest(&self, x: &[f32]) -> Option<Nearest> {
        let numbers = self.numbers.as_ref()?;
        let nearest = self.images.nearest(&self.projection.of(x), None);
        let (distance, index) = *nearest.first()?;
        Some(Nearest {
            distance,
            image: *numbers.get(index)?,
        })
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.radius.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.radius.is_empty()
    }

    /// Number p of components.
    pub fn components(&self) -> usize {
        self.projection.components()
    }

    /// Size D of a vector.
    pub fn values(&self) -> usize {
        self.projection.mean().len()
    }

    /// How far the vector x, D values, is from those of the images.
    pub fn knn_distance(&self, x: &[f32]) -> KnnDistance {
        let nearest = self.images.nearest(&self.projection.of(x), None);
        let distance = mean_of(nearest.iter().map(|(distance, _)| *distance));
        // A distance that is NaN has no neighbours; the result is NaN.
        let own = |index: usize| self.radius.get(index).copied().unwrap_or(f32::NAN);
        let own = mean_of(nearest.iter().map(|&(_, index)| own(index)));
        KnnDistance {
            nearest: nearest.first().map_or(f64::NAN, |(d, _)| f64::from(*d)),
            relative: distance / own.max(SMALLEST_RADIUS.into()),
        }
    }

    /// D, p and n as little-endian `u64`; mean, basis, scale and radius as little-endian `f32`;
    /// the bytes. Where the highest bit of n is set, the numbers of the images follow as little-endian `u32`.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let numbered = if self.numbers.is_some() { NUMBERED } else { 0 };
        let [values, components, n] =
            [self.values(), self.components(), self.len()].map(|size| size as u64);
        for size in [values, components, n | numbered] {
            out.extend(size.to_le_bytes());
        }
        let floats = (self.projection.mean().iter().copied())
            .chain(self.projection.basis())
            .chain(self.images.scale().as_flattened().iter().copied())
            .chain(self.radius.iter().copied());
        out.extend(floats.flat_map(f32::to_le_bytes));
        out.extend(self.images.rows());
        let numbers = self.numbers.iter().flatten();
        out.extend(numbers.flat_map(|number| number.to_le_bytes()));
    }

    /// What [`Self::encode`] wrote.
    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, CalibrationError> {
        let (values, components, n) = (reader.count()?, reader.count()?, reader.u64()?);
        let is_numbered = n & NUMBERED != 0;
        let n = to_count(n & !NUMBERED)?;
        let mean = reader.f32s(values)?;
        let basis = reader.f32s(product(&[components, values])?)?;
        let scale = reader.f32s(product(&[components, 2])?)?;
        let radius = reader.f32s(n)?;
        let rows = reader.bytes(product(&[n, components])?)?;
        let numbers = is_numbered.then(|| reader.u32s(n)).transpose()?;
        let images = Blocks::new(scale.as_chunks().0.to_vec(), rows)?;
        Ok(Self::assemble(
            Projection::new(mean, &basis)?,
            images,
            radius,
            numbers,
        )?)
    }
}

fn mean_of(values: impl ExactSizeIterator<Item = f32>) -> f64 {
    let count = values.len() as f64;
    values.map(f64::from).sum::<f64>() / count
}

#[cfg(test)]
mod tests {
    use super::*;
    use blocks::tests::random;

    /// Neighbours and what comes after them.
    fn decode(bytes: &[u8]) -> Result<(Neighbours, &[u8]), CalibrationError> {
        let mut reader = Reader::new(bytes);
        Ok((Neighbours::decode(&mut reader)?, reader.rest()))
    }

    /// The identity as basis.
    fn identity(d: usize) -> Vec<f32> {
        (0..d * d)
            .map(|i| f32::from(u8::from(i / d == i % d)))
            .collect()
    }

    /// Sixteen images on a line at 0, 1, ..., 15, which bytes hold exactly, and one that asks.
    #[test]
    fn a_case_by_hand() {
        let x: Vec<f32> = (0..=15).map(|v| v as f32).collect();
        let neighbours = Neighbours::new(vec![7.5], &[1.0], &x).unwrap();
        // The radius of 0 is the mean of 1 to 10, that of 7 the mean of 1, 1, 2, 2, ..., 5, 5.
        assert!((neighbours.radius[0] - 5.5).abs() < 1e-4);
        assert!((neighbours.radius[7] - 3.0).abs() < 1e-4);
        let got = neighbours.knn_distance(&[25.0]);
        assert!((got.nearest - 10.0).abs() < 1e-4, "{got:?}");
        // Nearest are 15, 14, ..., 6: distances 10 to 19, mean 14.5.
        let own = mean_of(neighbours.radius[6..].iter().copied());
        assert!((got.relative - 14.5 / own).abs() < 1e-4, "{got:?}");
    }

    #[test]
    fn neither_the_order_of_images_nor_a_shift_of_all_matters() {
        let (n, d) = (100, 12);
        let x = random(n, d, 1);
        let query = random(1, d, 2);
        let original = Neighbours::new(vec![0.0; d], &identity(d), &x).unwrap();
        let expected = original.knn_distance(&query);
        let close = |got: KnnDistance| {
            (got.nearest - expected.nearest).abs() < 1e-4
                && (got.relative - expected.relative).abs() < 1e-4
        };
        let reversed: Vec<f32> = x.chunks(d).rev().flatten().copied().collect();
        let reversed = Neighbours::new(vec![0.0; d], &identity(d), &reversed).unwrap();
        assert!(close(reversed.knn_distance(&query)));
        let shift = |values: &[f32]| -> Vec<f32> { values.iter().map(|v| v + 3.0).collect() };
        let shifted = Neighbours::new(vec![3.0; d], &identity(d), &shift(&x)).unwrap();
        assert!(close(shifted.knn_distance(&shift(&query))));
        // A relative distance has no unit.
        let double = |values: &[f32]| -> Vec<f32> { values.iter().map(|v| v * 2.0).collect() };
        let doubled = Neighbours::new(vec![0.0; d], &identity(d), &double(&x)).unwrap();
        let got = doubled.knn_distance(&double(&query));
        assert!((got.relative - expected.relative).abs() < 1e-4);
        assert!((got.nearest - 2.0 * expected.nearest).abs() < 1e-4);
    }

    #[test]
    fn images_that_are_all_the_same_give_numbers() {
        let neighbours = Neighbours::new(vec![0.0; 2], &identity(2), &[0.5; 40]).unwrap();
        let same = neighbours.knn_distance(&[0.5, 0.5]);
        assert_eq!((same.nearest, same.relative), (0.0, 0.0));
        assert!(neighbours.knn_distance(&[0.5, 0.6]).relative.is_finite());
    }

    #[test]
    fn further_images_are_found_and_the_stored_ones_stay() {
        let (d, stored) = (4, 60);
        let x = random(stored, d, 7);
        let neighbours = Neighbours::new(vec![0.0; d], &identity(d), &x).unwrap();
        // Twelve far images, beyond the range of the stored ones.
        let new: Vec<f32> = random(12, d, 8).iter().map(|value| value + 3.0).collect();
        let extended = neighbours.extended(&new, 1000, 0).unwrap();
        assert_eq!(extended.len(), stored + 12);
        // Half a step of the first bytes, and half of one of the range of all, in each component.
        let steps = (1.0 / 255.0 + 4.0 / 255.0) / 2.0 * (d as f64).sqrt() + 1e-5;
        for row in x.chunks(d).chain(new.chunks(d)) {
            let nearest = extended.knn_distance(row).nearest;
            assert!(nearest <= steps, "{nearest}");
        }
        assert!(neighbours.knn_distance(&new[..d]).nearest > 2.0);
        for row in random(50, d, 9).chunks(d) {
            let [before, after] = [&neighbours, &extended].map(|of| of.knn_distance(row).nearest);
            assert!(after <= before + steps, "{before} {after}");
        }
    }

    #[test]
    fn an_extension_keeps_its_bound_and_its_new_images() {
        let (d, stored) = (2, 50);
        let x = random(stored, d, 10);
        let neighbours = Neighbours::new(vec![0.0; d], &identity(d), &x).unwrap();
        let new: Vec<f32> = random(9, d, 11).iter().map(|value| value + 5.0).collect();
        let extended = neighbours.extended(&new, 40, 3).unwrap();
        assert_eq!(extended.len(), 40);
        for row in new.chunks(d) {
            assert!(extended.knn_distance(row).nearest < 0.05);
        }
        let few = neighbours.extended(&new, 10, 3).unwrap_err().to_string();
        assert_eq!(few, "expected at least 11 images to compare with, got 10");
        let cut = neighbours.extended(&new[1..], 40, 3).unwrap_err();
        assert!(matches!(cut, FitError::Rows { columns: 2, .. }));
    }

    #[test]
    fn numbered_images_are_named_whatever_the_order_of_blocks() {
        let (n, d) = (200, 5);
        let x = random(n, d, 12);
        let neighbours = Neighbours::numbered(vec![0.0; d], &identity(d), &x).unwrap();
        for (number, row) in x.chunks(d).enumerate() {
            assert_eq!(neighbours.nearest(row).unwrap().image, number as u32);
        }
        assert_eq!(neighbours.nearest(&[f32::NAN; 5]), None);
        let mut bytes = Vec::new();
        neighbours.encode(&mut bytes);
        assert_eq!(decode(&bytes), Ok((neighbours.clone(), &[][..])));
        let cut = Err(CalibrationError::Size);
        assert_eq!(decode(&bytes[..bytes.len() - 1]), cut);
        let unnumbered = Neighbours::new(vec![0.0; d], &identity(d), &x).unwrap();
        assert_eq!(
            (unnumbered.nearest(&x[..d]), unnumbered.numbers()),
            (None, None)
        );

        // New images have the next numbers, and stored ones keep theirs: the same ones in both indices.
        let new: Vec<f32> = random(20, d, 13).iter().map(|value| value + 4.0).collect();
        let extended = neighbours.extended(&new, 120, 5).unwrap();
        for (number, row) in new.chunks(d).enumerate() {
            assert_eq!(extended.nearest(row).unwrap().image, (n + number) as u32);
        }
        let turned: Vec<f32> = x.iter().map(|value| 1.0 - value * value).collect();
        let other = Neighbours::numbered(vec![0.0; d], &identity(d), &turned).unwrap();
        let other = other.extended(&new, 120, 5).unwrap();
        let [numbers, others] = [&extended, &other].map(|of| {
            let mut numbers = of.numbers().unwrap().to_vec();
            numbers.sort_unstable();
            numbers
        });
        assert_eq!(numbers.len(), 120);
        assert_eq!(numbers, others);
    }

    #[test]
    fn survives_its_file_and_refuses_a_cut_one() {
        // More components than a register holds.
        let (basis, x) = (random(30, 20, 4), random(30, 30, 5));
        let neighbours = Neighbours::new(vec![0.0; 30], &basis, &x).unwrap();
        let mut bytes = Vec::new();
        neighbours.encode(&mut bytes);
        bytes.push(7);
        let read = decode(&bytes);
        assert_eq!(read, Ok((neighbours, &[7][..])));
        bytes.pop();
        let cut = CalibrationError::Size;
        assert_eq!(decode(&bytes[..bytes.len() - 1]), Err(cut));
        assert_eq!(decode(&[0xff; 64]), Err(cut));
        let mut x = random(30, 3, 6);
        x[7] = f32::NAN;
        let new = |x: &[f32]| Neighbours::new(vec![0.0; 3], &identity(3), x).unwrap_err();
        assert!(matches!(new(&x), FitError::NotFinite { .. }));
        let few = new(&[0.0; 30]).to_string();
        assert_eq!(few, "expected at least 11 images to compare with, got 10");
        assert!(matches!(
            new(&[0.0; 31]),
            FitError::Rows {
                columns: 3,
                got: 31,
                ..
            }
        ));
    }
}
