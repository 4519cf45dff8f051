//! The identity of the images that a model was fitted on, independent of folders and file names.

use std::collections::{HashMap, HashSet};
use std::fmt;

use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::{CalibrationCount, ClassSelection, DataError, Dataset, Part, Split};

/// The beginning of the SHA-256 of an image's pixels: two images of a million share one with a
/// probability below 1e-7.
pub type Digest = [u8; 8];

impl Dataset {
    /// The digest of each image.
    pub fn digests(&self) -> Vec<Digest> {
        let images = (0..self.len()).into_par_iter();
        let of = |index| short(&Sha256::digest(self.image(index)));
        images.map(of).collect()
    }
}

fn short(sha256: &[u8]) -> Digest {
    let mut digest = Digest::default();
    digest.copy_from_slice(&sha256[..size_of::<Digest>()]);
    digest
}

/// The images of a fit in the data set's order, and the part of the split that each was in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// SHA-256 of classes and images, independent of their order.
    sha256: [u8; 32],
    digests: Vec<Digest>,
    split: Split,
}

/// How a set of images relates to that of a fit.
#[derive(Debug)]
pub enum Relation {
    /// The images of the fit, in its order, with its split.
    Same(Split),
    /// Most images of the fit are among them. In the split, images of the fit keep their part, and all
    /// others are test images.
    Changed(Split, Change),
    /// Other images. All but those that the fit has seen are test images.
    Other {
        /// A split with test images only.
        split: Split,
        /// The number of images that the fit has seen, which are in no part of the split.
        seen: usize,
    },
}

/// How a set of images differs from that of a fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    before: usize,
    now: usize,
    /// Distinct images that are new.
    added: usize,
    /// Distinct images of the fit.
    removed: usize,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            before,
            now,
            added,
            removed,
        } = self;
        write!(f, "the fit had {before} images, now there are {now}: ")?;
        match (added, removed) {
            (0, 0) => write!(f, "some were copied, or moved between classes"),
            _ => write!(
                f,
                "{removed} of them are gone or altered, and {added} are new"
            ),
        }
    }
}

impl Identity {
    /// The identity for a fit on `dataset`, whose images have these `digests`.
    pub fn new(dataset: &Dataset, digests: &[Digest], split: &Split) -> Self {
        Self {
            sha256: set_digest(dataset, digests),
            digests: digests.to_vec(),
            split: split.clone(),
        }
    }

    /// The same set with another number of calibration images, see [`Split::recalibrated`].
    ///
    /// # Errors
    /// When there are too few images.
    pub fn recalibrated(mut self, count: CalibrationCount) -> Result<Self, DataError> {
        self.split = self.split.recalibrated(count)?;
        Ok(self)
    }

    /// The number of images.
    pub fn count(&self) -> usize {
        self.digests.len()
    }

    /// The SHA-256 of classes and images, hexadecimal.
    pub fn sha256(&self) -> String {
        self.sha256
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// How the images of `dataset` relate to those of the fit. If they are the same, puts them into the
    /// fit's order. `classes` says which are normal now.
    pub fn relation(&self, dataset: &mut Dataset, classes: &ClassSelection) -> Relation {
        let digests = dataset.digests();
        if set_digest(dataset, &digests) == self.sha256 {
            self.restore_order(dataset, &digests);
            return Relation::Same(self.split.clone());
        }
        let before: HashSet<&Digest> = self.digests.iter().collect();
        let now: HashSet<&Digest> = digests.iter().collect();
        let kept = before.intersection(&now).count();
        if 2 * kept <= before.len() {
            let seen = self.seen();
            let known = now.iter().filter(|digest| seen.contains(**digest)).count();
            return Relation::Other {
                split: self.split_of(dataset, &digests, classes, false),
                seen: known,
            };
        }
        let change = Change {
            before: self.digests.len(),
            now: digests.len(),
            added: now.len() - kept,
            removed: before.len() - kept,
        };
        Relation::Changed(self.split_of(dataset, &digests, classes, true), change)
    }

    /// The number of training images.
    pub fn fitted(&self) -> usize {
        self.split.train.len()
    }

    /// Digests of the images that the fit held out as anomalous.
    pub fn held_out(&self) -> HashSet<Digest> {
        let indices = &self.split.test[self.split.normal_test_count()..];
        indices.iter().map(|&index| self.digests[index]).collect()
    }

    /// Digests of the training and calibration images.
    pub fn seen(&self) -> HashSet<Digest> {
        let indices = self.split.train.iter().chain(&self.split.calibration);
        indices.map(|&index| self.digests[index]).collect()
    }

    /// Images of the fit keep their part, if `with_fit`; all others are test images.
    fn split_of(
        &self,
        dataset: &Dataset,
        digests: &[Digest],
        classes: &ClassSelection,
        with_fit: bool,
    ) -> Split {
        let normal = |index: usize| classes.normal.contains(&dataset.labels[index]);
        // Of equal images a normal one is kept.
        let mut places: HashMap<Digest, usize> = HashMap::new();
        for (index, digest) in digests.iter().enumerate() {
            let place = places.entry(*digest).or_insert(index);
            if normal(index) && !normal(*place) {
                *place = index;
            }
        }
        let mut take = |indices: &[usize]| -> Vec<usize> {
            let digests = indices.iter().map(|&index| self.digests[index]);
            digests
                .filter_map(|digest| places.remove(&digest))
                .collect()
        };
        let (train, calibration) = (take(&self.split.train), take(&self.split.calibration));
        let mut test = take(&self.split.test);
        // What an inspection data set has to fit is no test of another fit.
        let is_test = |index: &usize| dataset.part(*index) != Some(Part::Fit);
        let is_left = |index: &usize| places.get(&digests[*index]) == Some(index);
        let new = (0..digests.len()).filter(|index| is_left(index) && is_test(index));
        test.extend(new);
        let (normal_test, held_out) = test.into_iter().partition(|&index| normal(index));
        if with_fit {
            Split::new(train, calibration, normal_test, held_out)
        } else {
            Split::new(Vec::new(), Vec::new(), normal_test, held_out)
        }
    }

    /// The fit's order of the same images.
    fn restore_order(&self, dataset: &mut Dataset, digests: &[Digest]) {
        if digests == self.digests {
            return;
        }
        let mut places: HashMap<Digest, Vec<usize>> = HashMap::new();
        for (index, digest) in digests.iter().enumerate().rev() {
            places.entry(*digest).or_default().push(index);
        }
        let next = |digest: &Digest| places.get_mut(digest).and_then(Vec::pop);
        let order: Vec<usize> = self.digests.iter().filter_map(next).collect();
        dataset.reorder(&order);
    }

    /// Numbers of images, and of those in each part, as little-endian `u64`; the SHA-256 of the set;
    /// the digests; the parts as little-endian `u32`.
    pub fn encode(&self) -> Vec<u8> {
        let Split {
            train,
            calibration,
            test,
            ..
        } = &self.split;
        let (normal_test, held_out) = test.split_at(self.split.normal_test_count());
        let parts = [train, calibration, normal_test, held_out];
        let counts = [self.digests.len()]
            .into_iter()
            .chain(parts.map(<[usize]>::len));
        let mut bytes: Vec<u8> = counts
            .flat_map(|count| (count as u64).to_le_bytes())
            .collect();
        bytes.extend(self.sha256);
        bytes.extend(self.digests.as_flattened());
        let indices = parts.into_iter().flatten();
        bytes.extend(indices.flat_map(|&index| (index as u32).to_le_bytes()));
        bytes
    }

    /// Decodes what [`Self::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (counts, body) = bytes.split_first_chunk::<{ 5 * 8 }>()?;
        let (counts, _) = counts.as_chunks::<8>();
        let count = |index: usize| usize::try_from(u64::from_le_bytes(counts[index])).ok();
        let n = count(0)?;
        let (sha256, body) = body.split_first_chunk::<32>()?;
        let (digests, indices) = body.split_at_checked(n.checked_mul(size_of::<Digest>())?)?;
        let (indices, rest) = indices.as_chunks::<4>();
        let indices: Vec<usize> = indices
            .iter()
            .map(|index| u32::from_le_bytes(*index) as usize)
            .collect();
        let mut left = &indices[..];
        let mut part = |index: usize| -> Option<Vec<usize>> {
            let (part, after) = left.split_at_checked(count(index)?)?;
            left = after;
            Some(part.to_vec())
        };
        let split = Split::new(part(1)?, part(2)?, part(3)?, part(4)?);
        let whole = rest.is_empty() && left.is_empty() && indices.iter().all(|&index| index < n);
        whole.then(|| Self {
            sha256: *sha256,
            digests: digests.as_chunks().0.to_vec(),
            split,
        })
    }
}

/// The number of images that are equal to others, and of distinct images in both normal and held-out
/// classes.
pub fn copies(dataset: &Dataset, digests: &[Digest], classes: &ClassSelection) -> (usize, usize) {
    let of = |labels: &[u32]| -> HashSet<Digest> {
        let images = dataset.labels.iter().zip(digests);
        let images = images.filter(|(label, _)| labels.contains(label));
        images.map(|(_, digest)| *digest).collect()
    };
    let (normal, held_out) = (of(&classes.normal), of(&classes.held_out));
    let both = normal.intersection(&held_out).count();
    let different = normal.len() + held_out.len() - both;
    (dataset.len() - different, both)
}

/// The SHA-256 of the sorted digests of (class, image).
fn set_digest(dataset: &Dataset, digests: &[Digest]) -> [u8; 32] {
    let mut entries: Vec<_> = dataset
        .labels
        .iter()
        .zip(digests)
        .map(|(label, digest)| (dataset.classes[*label as usize].as_str(), digest))
        .collect();
    entries.sort_unstable();
    let mut sha256 = Sha256::new();
    for (class, digest) in entries {
        sha256.update((class.len() as u64).to_le_bytes());
        sha256.update(class);
        sha256.update(digest);
    }
    sha256.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Pixels, split, strokes};

    const COUNT: usize = 300;

    fn fitted() -> (Dataset, ClassSelection, Identity) {
        let dataset = strokes::dataset(COUNT, 3);
        let normal = (0..10).filter(|digit| *digit != 4).collect();
        let classes = ClassSelection {
            normal,
            held_out: vec![4],
        };
        let digests = dataset.digests();
        let count = CalibrationCount::exactly(50);
        let split = split(&dataset, &digests, &classes, 1, count).unwrap();
        let identity = Identity::new(&dataset, &digests, &split);
        (dataset, classes, identity)
    }

    /// Images of the fit's train and calibration, by their pixels.
    fn seen<'a>(dataset: &'a Dataset, split: &Split) -> HashSet<&'a [u8]> {
        let indices = split.train.iter().chain(&split.calibration);
        indices.map(|&index| dataset.image(index)).collect()
    }

    #[test]
    fn survives_its_file_and_refuses_a_cut_one() {
        let (_, _, identity) = fitted();
        let bytes = identity.encode();
        assert_eq!(Identity::decode(&bytes), Some(identity));
        for length in [0, 39, 80, bytes.len() - 4, bytes.len() - 1] {
            assert_eq!(Identity::decode(&bytes[..length]), None, "{length}");
        }
        let mut beyond = bytes;
        let end = beyond.len();
        beyond[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Identity::decode(&beyond), None);
    }

    #[test]
    fn the_order_does_not_matter() {
        let (dataset, classes, identity) = fitted();
        let mut turned = dataset.clone();
        turned.reorder(&(0..COUNT).rev().collect::<Vec<_>>());
        assert_ne!(turned, dataset);
        let Relation::Same(split) = identity.relation(&mut turned, &classes) else {
            panic!("another set");
        };
        assert_eq!(split, identity.split);
        assert_eq!(turned, dataset);
    }

    #[test]
    fn a_changed_set_is_told_and_tests_nothing_that_the_fit_has_seen() {
        let (dataset, classes, identity) = fitted();
        let before = seen(&dataset, &identity.split);
        let mut changed = dataset.clone();
        changed.reorder(&(10..COUNT).collect::<Vec<_>>());
        let more = strokes::dataset(30, 4);
        let all: Vec<_> = changed.images.iter().chain(more.images.iter()).collect();
        changed.images = Pixels::new(all.concat(), more.pixels());
        changed.labels.extend(&more.labels);
        let Relation::Changed(split, change) = identity.relation(&mut changed, &classes) else {
            panic!("not told");
        };
        let text = change.to_string();
        assert!(
            text.contains("10 of them are gone") && text.contains("30 are new"),
            "{text}"
        );
        assert!(
            split
                .test
                .iter()
                .all(|&i| !before.contains(changed.image(i)))
        );
        assert!(seen(&changed, &split).is_subset(&before));
        assert_eq!(split.len(), COUNT - 10 + 30);

        // An image in another class is a change too.
        let mut moved = dataset.clone();
        moved.labels[7] = 4;
        assert!(matches!(
            identity.relation(&mut moved, &classes),
            Relation::Changed(..)
        ));
    }

    #[test]
    fn another_set_is_all_test_but_what_the_fit_has_seen() {
        let (dataset, classes, identity) = fitted();
        let mut other = strokes::dataset(100, 4);
        let shared = &identity.split.train[..20];
        let shared_images = shared.iter().map(|&index| dataset.image(index));
        let all: Vec<_> = other.images.iter().chain(shared_images).collect();
        other.images = Pixels::new(all.concat(), dataset.pixels());
        let labels = shared.iter().map(|&index| dataset.labels[index]);
        other.labels.extend(labels);
        let Relation::Other { split, seen } = identity.relation(&mut other, &classes) else {
            panic!("the same set");
        };
        assert_eq!((split.len(), split.test.len(), seen), (100, 100, 20));
        assert!(split.test.iter().all(|&index| index < 100));
    }
}
