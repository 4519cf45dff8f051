use std::collections::HashSet;

use lfbm_detector::{fewest_images, sites};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{ClassSelection, DataError, Dataset, Digest, Part};

/// Fraction of the normal images for fitting and calibration.
const TRAIN_SHARE: f64 = 0.8;
/// Stored images of the local score need this many neighbours besides themselves.
const SMALLEST_FIT: usize = 11;
/// Calibration images, if there are enough.
const CALIBRATION_COUNT: usize = 2000;
/// A false-positive rate that needs as few calibration images as any.
const LARGE_RATE: f64 = 0.5;

/// The parts of a data set, as indices of its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Training images; all normal.
    pub train: Vec<usize>,
    /// Normal images kept out of fitting, for the calibration.
    pub calibration: Vec<usize>,
    /// Test images: normal ones, then all held-out ones.
    pub test: Vec<usize>,
    /// Whether each image of `test` is of a held-out class.
    pub anomalous: Vec<bool>,
}

impl Split {
    /// From the images of each part.
    pub fn new(
        train: Vec<usize>,
        calibration: Vec<usize>,
        normal_test: Vec<usize>,
        held_out: Vec<usize>,
    ) -> Self {
        let mut anomalous = vec![false; normal_test.len()];
        let test = [normal_test, held_out].concat();
        anomalous.resize(test.len(), true);
        Self {
            train,
            calibration,
            test,
            anomalous,
        }
    }

    /// The first normal images of the test, `count` at most.
    pub fn normal_test(&self, count: usize) -> &[usize] {
        let normal = self.normal_test_count();
        &self.test[..normal.min(count)]
    }

    /// The number of normal test images.
    pub fn normal_test_count(&self) -> usize {
        let normal = self.anomalous.iter().position(|&anomalous| anomalous);
        normal.unwrap_or(self.test.len())
    }

    /// The split with another number of calibration images, moved from or to the normal test images. The
    /// training images stay.
    ///
    /// # Errors
    /// When there are too few images.
    pub fn recalibrated(&self, count: CalibrationCount) -> Result<Self, DataError> {
        let CalibrationCount {
            wanted,
            fewest,
            sites,
        } = count;
        let count = wanted.unwrap_or(self.calibration.len().max(fewest));
        let (normal_test, held_out) = self.test.split_at(self.normal_test_count());
        let kept = [&self.calibration[..], normal_test].concat();
        let Some((calibration, normal_test)) = kept.split_at_checked(count) else {
            let there = kept.len();
            let reason = if there < fewest {
                format!(
                    "a calibration needs {fewest} normal images or more that were not fitted, and there are \
                     {there}; add normal images{}",
                    or_raise_the_rate(fewest, sites)
                )
            } else {
                format!(
                    "{count} calibration images are wanted, and there are {there} normal ones that were not \
                     fitted; set calibration.count below {}",
                    there + 1
                )
            };
            return Err(DataError::Usage(reason));
        };
        Ok(Self::new(
            self.train.clone(),
            calibration.to_vec(),
            normal_test.to_vec(),
            held_out.to_vec(),
        ))
    }

    /// The number of images in all parts.
    pub fn len(&self) -> usize {
        self.train.len() + self.calibration.len() + self.test.len()
    }

    /// Whether all parts are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The number of calibration images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CalibrationCount {
    /// The wanted number; by default as many as the data allow.
    pub wanted: Option<usize>,
    /// The least number.
    pub fewest: usize,
    /// Whether the model is one of sites, which a few images have enough of to fit.
    pub sites: bool,
}

impl CalibrationCount {
    /// Exactly this number.
    pub fn exactly(count: usize) -> Self {
        Self {
            wanted: Some(count),
            fewest: 0,
            sites: false,
        }
    }

    /// As many of `available` as are wanted by who wants them all, up to what is worth it.
    pub fn or_all_of(self, available: usize) -> Self {
        let all = available.min(CALIBRATION_COUNT).max(self.fewest);
        Self {
            wanted: Some(self.wanted.unwrap_or(all)),
            ..self
        }
    }

    /// The number among `available` normal images for fitting and calibration.
    fn of(self, available: usize) -> Result<usize, DataError> {
        let most = available.saturating_sub(SMALLEST_FIT);
        let Some(count) = self.wanted else {
            let count = (available / 4).clamp(self.fewest, CALIBRATION_COUNT.max(self.fewest));
            let most = if self.sites { most } else { available / 2 };
            return if count > most {
                Err(self.too_few(available))
            } else {
                Ok(count)
            };
        };
        if count > most && most < self.fewest {
            return Err(self.too_few(available));
        }
        if count == 0 || count > most {
            return Err(DataError::Usage(format!(
                "calibration.count keeps {count} of {available} different normal images for \
                 calibration, which leaves nothing to calibrate or to fit; set calibration.count \
                 below {}",
                most + 1
            )));
        }
        Ok(count)
    }

    /// Why no number of `available` images will do.
    fn too_few(self, available: usize) -> DataError {
        let to_fit = if self.sites || self.wanted.is_some() {
            SMALLEST_FIT.to_string()
        } else {
            "at least as many".to_owned()
        };
        DataError::Usage(format!(
            "{available} different normal images to fit and to calibrate are too few: {} are needed to \
             calibrate, and {to_fit} to fit; add images{}",
            self.fewest,
            or_raise_the_rate(self.fewest, self.sites)
        ))
    }
}

/// Further advice where `fewest` images are needed: nothing where no rate needs fewer.
fn or_raise_the_rate(fewest: usize, sites: bool) -> &'static str {
    let of_rate = if sites {
        sites::fewest_images
    } else {
        fewest_images
    };
    if of_rate(LARGE_RATE).is_some_and(|floor| fewest > floor) {
        ", or raise calibration.false_positive_rate"
    } else {
        ""
    }
}

/// The part of each image. An inspection data set says what is for the test; its other images are for
/// fitting and, shuffled by `seed`, the last of them for calibration. For all others it is
/// the protocol of the literature: normal images are shuffled by `seed`. The first 80 % are for fitting
/// and, the last of them, for calibration; the other 20 % and all images of held-out classes are the
/// test. Of equal images only one is used, preferably a normal one.
///
/// # Errors
/// When calibration would leave nothing to fit.
pub fn split(
    dataset: &Dataset,
    digests: &[Digest],
    classes: &ClassSelection,
    seed: u64,
    calibration: CalibrationCount,
) -> Result<Split, DataError> {
    let mut seen = HashSet::with_capacity(dataset.len());
    let mut of = |labels: &[u32]| -> Vec<usize> {
        let (to_fit, others): (Vec<usize>, Vec<usize>) =
            (0..dataset.len()).partition(|&index| dataset.part(index) == Some(Part::Fit));
        let images = to_fit.into_iter().chain(others);
        images
            .filter(|&index| labels.contains(&dataset.labels[index]))
            .filter(|&index| seen.insert(digests[index]))
            .collect()
    };
    let mut normal = of(&classes.normal);
    let held_out = of(&classes.held_out);
    normal.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let (mut train, test) = if dataset.inspected.is_empty() {
        let test = normal.split_off((normal.len() as f64 * TRAIN_SHARE) as usize);
        (normal, test)
    } else {
        let is_to_fit = |index: &usize| dataset.part(*index) == Some(Part::Fit);
        normal.into_iter().partition(is_to_fit)
    };
    let count = calibration.of(train.len())?;
    let calibration = train.split_off(train.len() - count);
    Ok(Split::new(train, calibration, test, held_out))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::strokes;

    fn without_4() -> ClassSelection {
        ClassSelection {
            normal: vec![0, 1, 2, 3, 5, 6, 7, 8, 9],
            held_out: vec![4],
        }
    }

    fn split_of(dataset: &Dataset, seed: u64, count: CalibrationCount) -> Result<Split, DataError> {
        split(dataset, &dataset.digests(), &without_4(), seed, count)
    }

    #[test]
    fn every_image_has_one_place() {
        let dataset = strokes::dataset(1000, 3);
        let exactly = CalibrationCount::exactly;
        let parts = split_of(&dataset, 7, exactly(100)).unwrap();
        assert_eq!((parts.train.len(), parts.calibration.len()), (620, 100));
        assert_eq!(parts.test.len(), 180 + 100);
        // The split of existing bundles: a change would put their training images into the test.
        assert_eq!(parts.train[..5], FIRST);
        for (&index, &anomalous) in parts.test.iter().zip(&parts.anomalous) {
            assert_eq!(dataset.labels[index] == 4, anomalous);
        }
        let mut all = [&parts.train[..], &parts.calibration, &parts.test].concat();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());

        assert_eq!(split_of(&dataset, 7, exactly(100)).unwrap(), parts);
        assert_ne!(split_of(&dataset, 8, exactly(100)).unwrap(), parts);
        let error = split_of(&dataset, 7, exactly(720)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("set calibration.count below 710"), "{error}");
    }

    #[test]
    fn calibration_images_come_from_the_test_and_not_from_the_fit() {
        let dataset = strokes::dataset(500, 3);
        let parts = split_of(&dataset, 7, CalibrationCount::exactly(60)).unwrap();
        for count in [40, 60, 100] {
            let exactly = CalibrationCount::exactly(count);
            let changed = parts.recalibrated(exactly).unwrap();
            assert_eq!(changed.train, parts.train);
            assert_eq!(changed.calibration.len(), count);
            assert_eq!(changed.len(), parts.len());
            assert_eq!(
                changed.recalibrated(CalibrationCount::exactly(60)).unwrap(),
                parts
            );
        }
        let error = parts
            .recalibrated(CalibrationCount::exactly(151))
            .unwrap_err();
        assert!(
            error.to_string().contains("calibration.count below 151"),
            "{error}"
        );
    }

    const FIRST: [usize; 5] = [582, 673, 683, 147, 28];

    #[test]
    fn of_equal_images_one_has_a_place() {
        let mut dataset = strokes::dataset(500, 3);
        let once = split_of(&dataset, 7, CalibrationCount::exactly(60)).unwrap();
        // Each image twice more, and a normal one that is also called an anomaly.
        let order: Vec<_> = (0..500).chain(0..500).chain(0..500).chain([0]).collect();
        dataset.reorder(&order);
        dataset.labels[1500] = 4;
        assert_eq!(
            split_of(&dataset, 7, CalibrationCount::exactly(60)).unwrap(),
            once
        );
    }

    #[test]
    fn the_count_follows_the_data() {
        let count = |available| {
            let count = CalibrationCount {
                wanted: None,
                fewest: 40,
                sites: false,
            };
            count.of(available)
        };
        for (available, expected) in [(50_000, 2000), (486, 121), (100, 40), (80, 40)] {
            assert_eq!(count(available).unwrap(), expected);
        }
        let error = count(79).unwrap_err().to_string();
        assert!(error.contains("79 different normal images"), "{error}");
    }

    #[test]
    fn what_is_advised_helps() {
        let dataset = strokes::dataset(500, 3);
        let parts = split_of(&dataset, 7, CalibrationCount::exactly(60)).unwrap();
        // 60 to calibrate and 90 to test.
        let recalibrated = |wanted, fewest, sites| {
            let count = CalibrationCount {
                wanted,
                fewest,
                sites,
            };
            parts.recalibrated(count).unwrap_err().to_string()
        };
        let error = recalibrated(Some(151), 40, false);
        assert!(error.contains("set calibration.count below 151"), "{error}");
        let error = recalibrated(None, 197, false);
        assert!(
            error.contains("needs 197") && error.contains("or raise calibration"),
            "{error}"
        );
        assert!(!error.contains("set calibration.count"), "{error}");

        // Fewer than 27 images make no calibration of sites, and fewer than 40 none of whole images.
        let few = split_of(&strokes::dataset(60, 3), 7, CalibrationCount::exactly(5)).unwrap();
        for (fewest, sites) in [(27, true), (40, false)] {
            for wanted in [None, Some(45)] {
                let count = CalibrationCount {
                    wanted,
                    fewest,
                    sites,
                };
                let kept = few.recalibrated(count).unwrap_err().to_string();
                let fitted = count.of(30).unwrap_err().to_string();
                for error in [kept, fitted] {
                    assert!(
                        error.contains("add ") && !error.contains("raise"),
                        "{error}"
                    );
                    assert!(!error.contains("calibration.count"), "{error}");
                }
            }
        }
    }
}
