use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{ClassSelection, DataError, Dataset};

/// Share of the normal images that is for fitting and calibration.
const TRAIN_SHARE: f64 = 0.8;

/// Which images are for what, as indices of the data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// For fitting; all normal.
    pub train: Vec<usize>,
    /// Normal, and kept out of fitting: what scores are compared with.
    pub calibration: Vec<usize>,
    /// For evaluation: normal images, then all held-out ones.
    pub test: Vec<usize>,
    /// Whether each image of `test` is of a held-out class.
    pub anomalous: Vec<bool>,
}

impl Split {
    /// The first normal images of the test, `count` at most.
    pub fn normal_test(&self, count: usize) -> &[usize] {
        let normal = self.anomalous.iter().position(|&anomalous| anomalous);
        let normal = normal.unwrap_or(self.test.len());
        &self.test[..normal.min(count)]
    }
}

/// The protocol of the literature: normal images are shuffled by `seed`; the first 80 % train, and
/// of these the last `calibration_count` are kept for calibration; the other 20 % and all images
/// of held-out classes are the test.
///
/// # Errors
/// When calibration would leave nothing to fit.
pub fn split(
    dataset: &Dataset,
    classes: &ClassSelection,
    seed: u64,
    calibration_count: usize,
) -> Result<Split, DataError> {
    let of = |labels: &[u32]| -> Vec<usize> {
        (0..dataset.len())
            .filter(|&index| labels.contains(&dataset.labels[index]))
            .collect()
    };
    let mut train = of(&classes.normal);
    train.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let mut test = train.split_off((train.len() as f64 * TRAIN_SHARE) as usize);
    if calibration_count == 0 || calibration_count >= train.len() {
        return Err(DataError::Usage(format!(
            "{calibration_count} calibration images of {} normal ones to train with leave nothing \
             to calibrate or to fit; change calibration_count",
            train.len()
        )));
    }
    let calibration = train.split_off(train.len() - calibration_count);
    let mut anomalous = vec![false; test.len()];
    test.extend(of(&classes.held_out));
    anomalous.resize(test.len(), true);
    Ok(Split {
        train,
        calibration,
        test,
        anomalous,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::strokes;

    #[test]
    fn every_image_has_one_place() {
        let dataset = strokes::dataset(1000, 3);
        let classes = ClassSelection {
            normal: vec![0, 1, 2, 3, 5, 6, 7, 8, 9],
            held_out: vec![4],
        };
        let parts = split(&dataset, &classes, 7, 100).unwrap();
        assert_eq!((parts.train.len(), parts.calibration.len()), (620, 100));
        assert_eq!(parts.test.len(), 180 + 100);
        for (&index, &anomalous) in parts.test.iter().zip(&parts.anomalous) {
            assert_eq!(dataset.labels[index] == 4, anomalous);
        }
        let mut all = [&parts.train[..], &parts.calibration, &parts.test].concat();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());

        assert_eq!(split(&dataset, &classes, 7, 100).unwrap(), parts);
        assert_ne!(split(&dataset, &classes, 8, 100).unwrap(), parts);
        assert!(split(&dataset, &classes, 7, 720).is_err());
    }
}
