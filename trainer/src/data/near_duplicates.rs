//! Near-duplicates: images that show the same thing again, such as two photographs of one part. Where
//! they lie on both sides of a split, a detector that remembers images looks better than it is.
//!
//! Two images are compared by the correlation of their thumbnails, which are grey and 32 x 32 pixels.

use std::fmt;

use lfbm_images::{Intake, Size};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{DataError, Dataset, Split};

const SIDE: u32 = 32;
const VALUES: usize = (SIDE * SIDE) as usize;
/// As many images of each kind are compared, at most; of more, every k-th.
const MOST: usize = 4000;
/// The normal test images are suspiciously near when half of them correlate with an image of the fit at
/// least so much, ...
const SUSPICIOUS: f64 = 0.95;
/// ... and lack as small a part of what faulty images lack.
const NEARER: f64 = 0.5;
/// Groups of near-duplicates are the connected images that correlate by the first of these at which no
/// group has half of the images.
const CORRELATIONS: [f32; 6] = [0.93, 0.95, 0.97, 0.98, 0.99, 0.995];

/// Thumbnails without mean and of length 1, n x 32 x 32.
struct Thumbnails(Vec<f32>);

impl Thumbnails {
    fn of(dataset: &Dataset, indices: &[usize]) -> Result<Self, DataError> {
        let of_image = |&index: &usize| thumbnail(dataset, index);
        let rows: Result<Vec<_>, _> = indices.par_iter().map(of_image).collect();
        Ok(Self(rows?.concat()))
    }

    fn rows(&self) -> impl IndexedParallelIterator<Item = &[f32]> {
        self.0.par_chunks_exact(VALUES)
    }

    /// The highest correlation of each image with one of `others`.
    fn highest(&self, others: &Self) -> Vec<f64> {
        let highest = |row: &[f32]| {
            let others = others.0.chunks_exact(VALUES);
            others.map(|other| dot(row, other)).fold(-1.0, f32::max)
        };
        self.rows().map(|row| f64::from(highest(row))).collect()
    }
}

fn dot(one: &[f32], other: &[f32]) -> f32 {
    // Eight sums at once.
    let mut sums = [0.0; 8];
    for (a, b) in one.as_chunks::<8>().0.iter().zip(other.as_chunks::<8>().0) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum()
}

fn thumbnail(dataset: &Dataset, index: usize) -> Result<Vec<f32>, DataError> {
    let planes: Vec<f32> = dataset.gather(&[index]);
    let positions = dataset.height * dataset.width;
    let grey: Vec<f32> = (0..positions)
        .map(|position| {
            let values = planes[position..].iter().step_by(positions);
            values.sum::<f32>() / dataset.channels as f32
        })
        .collect();
    let size = Size {
        width: dataset.width as u32,
        height: dataset.height as u32,
    };
    let small = Size {
        width: SIDE,
        height: SIDE,
    };
    let placement = Intake::STRETCH.placement(size, small);
    let resized = placement.and_then(|placement| placement.resize(&grey));
    let mut values = resized.map_err(|error| DataError::Usage(error.to_string()))?;
    let mean = values.iter().sum::<f32>() / VALUES as f32;
    values.iter_mut().for_each(|value| *value -= mean);
    let norm = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    // What is flat correlates with nothing.
    let scale = if norm > 1e-4 { 1.0 / norm } else { 0.0 };
    values.iter_mut().for_each(|value| *value *= scale);
    Ok(values)
}

/// How near test images are to those of the fit: medians of the highest correlation of each with one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Leak {
    /// Of the normal test images.
    pub normal: f64,
    /// Of the faulty ones.
    pub faulty: f64,
}

impl Leak {
    /// Whether normal test images are so much nearer to the fit than faulty ones that they are likely
    /// to repeat it.
    pub fn is_suspicious(&self) -> bool {
        self.normal >= SUSPICIOUS && 1.0 - self.normal <= NEARER * (1.0 - self.faulty)
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the test may leak: half of its normal images correlate by {:.3} or more with an image of \
             the fit, faulty ones by {:.3}; keep near-duplicates together: in the layout train/good and test with \
             --test-list, for which `trainer split` writes a list",
            self.normal, self.faulty
        )
    }
}

/// How near the test images of a folder are to those of the fit; `None` where that is not measured:
/// without files, or without normal or faulty test images.
///
/// # Errors
/// When an image cannot be resized.
pub fn leak(dataset: &Dataset, split: &Split) -> Result<Option<Leak>, DataError> {
    let (normal, faulty) = split.test.split_at(split.normal_test_count());
    let fitted = [&split.train[..], &split.calibration].concat();
    if dataset.files.is_empty() || [normal, faulty, &fitted].iter().any(|part| part.is_empty()) {
        return Ok(None);
    }
    let some = |indices: &[usize]| {
        let stride = indices.len().div_ceil(MOST);
        let indices: Vec<usize> = indices.iter().copied().step_by(stride).collect();
        Thumbnails::of(dataset, &indices)
    };
    let fitted = some(&fitted)?;
    let median = |indices: &[usize]| -> Result<f64, DataError> {
        let mut highest = some(indices)?.highest(&fitted);
        highest.sort_unstable_by(f64::total_cmp);
        Ok(highest[highest.len() / 2])
    };
    Ok(Some(Leak {
        normal: median(normal)?,
        faulty: median(faulty)?,
    }))
}

/// Images in groups of near-duplicates.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups {
    /// The images of each group, in the order of the data set.
    pub groups: Vec<Vec<usize>>,
    /// Images that correlate at least so much are in one group.
    pub correlation: f32,
}

impl Groups {
    /// The groups of the images at `indices`: those that are connected by near-duplicates. Takes time
    /// by the square of their number.
    ///
    /// # Errors
    /// When the images are so alike that half of them are in one group.
    pub fn of(dataset: &Dataset, indices: &[usize]) -> Result<Self, DataError> {
        let thumbnails = Thumbnails::of(dataset, indices)?;
        for correlation in CORRELATIONS {
            let groups = connected(&thumbnails, correlation);
            if groups.iter().all(|group| 2 * group.len() <= indices.len()) {
                let named = |group: Vec<usize>| group.into_iter().map(|row| indices[row]).collect();
                return Ok(Self {
                    groups: groups.into_iter().map(named).collect(),
                    correlation,
                });
            }
        }
        Err(DataError::Usage(format!(
            "half of the {} normal images are connected by correlations of {} or more, so thumbnails \
             cannot tell which repeat others; write the list by hand",
            indices.len(),
            CORRELATIONS[CORRELATIONS.len() - 1]
        )))
    }

    /// Images of whole groups in a random order of `seed`, `count` at most.
    pub fn hold_out(&self, count: usize, seed: u64) -> Vec<usize> {
        let mut groups: Vec<&Vec<usize>> = self.groups.iter().collect();
        groups.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let mut held_out = Vec::new();
        for group in groups {
            if held_out.len() + group.len() <= count {
                held_out.extend(group);
            }
        }
        held_out.sort_unstable();
        held_out
    }
}

/// The rows that are connected by correlations of at least `correlation`, in groups.
fn connected(thumbnails: &Thumbnails, correlation: f32) -> Vec<Vec<usize>> {
    let mut left: Vec<usize> = (0..thumbnails.0.len() / VALUES).collect();
    let row = |index: usize| &thumbnails.0[index * VALUES..][..VALUES];
    let mut groups = Vec::new();
    while let Some(first) = left.first().copied() {
        left.remove(0);
        let mut group = vec![first];
        let mut visited = 0;
        while let Some(&member) = group.get(visited) {
            visited += 1;
            let is_near = |other: &usize| dot(row(member), row(*other)) >= correlation;
            let (near, far): (Vec<usize>, Vec<usize>) = left.par_iter().partition(|o| is_near(o));
            group.extend(near);
            left = far;
        }
        group.sort_unstable();
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests;
