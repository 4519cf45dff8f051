//! The local score: how unlike an image is to the normal images nearest to it, beside how unlikely
//! the model finds it.
//!
//! A joint density alone is not comparable between images: one with little in it has little to get
//! wrong. So four parts, each high for an anomaly, are brought to one scale and added:
//!
//! * `-log_joint`, the model's density;
//! * the distance of x to the nearest normal image;
//! * the distance of its HOG descriptor to the nearest one of normal images;
//! * the mean distance of its HOG descriptor to the nearest ones over their own (a simplified local
//!   outlier factor, Breunig et al. 2000, <https://doi.org/10.1145/342009.335388>).
//!
//! The scale of a part is that of a standard normal: [`RankNormalizer`] maps the values that normal
//! images give onto its quantiles. The score is their weighted sum, divided by the Euclidean norm of the
//! weights, as in Stouffer's method for independent parts.

use crate::bytes::{Reader, product};
use crate::conformal::{self, is_ascending};
use crate::error::{CalibrationError, FitError, check_finite, check_length};
use crate::memory_bank::{MemoryBank, Parts};
use crate::rank_normalizer::{RankNormalizer, SMALLEST_SCALE};

/// Parts of a score.
const PARTS: usize = 4;
/// The parts of normal images, in messages.
const PART_NAMES: [&str; PARTS] = [
    "negative log joints",
    "distances to the nearest image",
    "distances to the nearest HOG descriptor",
    "relative distances to the nearest HOG descriptors",
];
/// What they weigh; docs/detection.md has what others gave on validation classes. Bundles hold scores
/// made with them: other weights are another format.
const WEIGHTS: [f64; PARTS] = [0.5, 1.0, 2.0, 1.0];

fn values_of(parts: &Parts) -> [f64; PARTS] {
    [
        parts.negative_log_joint,
        parts.pixels.nearest,
        parts.edges.nearest,
        parts.edges.relative,
    ]
}

/// How many of `images` normal images, the last ones, give the scores that p-values rank among. The
/// others give the scales.
pub fn ranked(images: usize) -> usize {
    images - images / 2
}

/// The fewest normal images that tell a share `false_positive_rate` of them, and make a
/// [`LocalCalibration`]; `None` for a share that no number tells.
pub fn fewest_images(false_positive_rate: f64) -> Option<usize> {
    let ranked = conformal::fewest_ranked(false_positive_rate)?;
    // The second half of the images has the scores that others are ranked among.
    let images = (2 * ranked).saturating_sub(1);
    Some(images.max(LocalCalibration::FEWEST_IMAGES))
}

/// What normal images, kept out of fitting, say of the parts and of their sum.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalCalibration {
    memory_bank: MemoryBank,
    scales: [RankNormalizer; PARTS],
    /// Local scores of normal images that the scales were not made of, ascending.
    scores: Vec<f64>,
}

impl LocalCalibration {
    /// Normal images that it needs at least.
    pub const FEWEST_IMAGES: usize = 2 * SMALLEST_SCALE;

    /// From the images to compare with, and from the images x (n x D) and log-joints (n) of
    /// normal images that are not among them. The first half makes the scales; the second half
    /// has the scores that others are ranked among.
    ///
    /// # Errors
    /// When the lengths do not fit, there are fewer than 40 images, or a part is NaN or infinite.
    pub fn new(memory_bank: MemoryBank, x: &[f32], log_joint: &[f64]) -> Result<Self, FitError> {
        let n = log_joint.len();
        if n < Self::FEWEST_IMAGES {
            return Err(FitError::TooFew {
                what: "normal images to calibrate on",
                fewest: Self::FEWEST_IMAGES,
                got: n,
            });
        }
        let parts = parts_of_all(&memory_bank, x, log_joint)?;
        let (first, second) = parts.split_at(parts.len() - ranked(parts.len()));
        let scale = |part: usize| RankNormalizer::new(first.iter().map(|p| p[part]).collect());
        let scales = [scale(0)?, scale(1)?, scale(2)?, scale(3)?];
        let unranked = Self {
            memory_bank,
            scales,
            scores: Vec::new(),
        };
        unranked.with_ranked(second)
    }

    /// With a memory bank that has further normal images, and the images x (n x D) and log-joints (n) of others
    /// that are not in it. Their scores join those that others are ranked among; the scales stay.
    ///
    /// # Errors
    /// When the bank is of images of another size, the lengths do not fit, or a part is NaN or infinite.
    pub fn extended(
        &self,
        memory_bank: MemoryBank,
        x: &[f32],
        log_joint: &[f64],
    ) -> Result<Self, FitError> {
        let values = self.memory_bank.values();
        check_length("an image of the bank", values, memory_bank.values())?;
        let parts = parts_of_all(&memory_bank, x, log_joint)?;
        let extended = Self {
            memory_bank,
            ..self.clone()
        };
        extended.with_ranked(&parts)
    }

    /// With the scores of more images to rank among.
    fn with_ranked(mut self, parts: &[[f64; PARTS]]) -> Result<Self, FitError> {
        let scales = &self.scales;
        self.scores
            .extend(parts.iter().map(|parts| sum(scales, parts)));
        let finite = self.scores.iter().map(|score| score.is_finite());
        check_finite("local scores", finite)?;
        self.scores.sort_by(f64::total_cmp);
        Ok(self)
    }

    /// How many images p-values rank among.
    pub fn ranked(&self) -> usize {
        self.scores.len()
    }

    /// The images that others are compared with.
    pub fn memory_bank(&self) -> &MemoryBank {
        &self.memory_bank
    }

    /// The parts of the score of x, D values, whose log-joint is known.
    pub fn parts(&self, x: &[f32], log_joint: f64) -> Parts {
        self.memory_bank.parts(x, log_joint)
    }

    /// The local score: high for an anomaly. For normal images wider than a standard normal, because
    /// the parts are not independent.
    pub fn score(&self, parts: &Parts) -> f64 {
        sum(&self.scales, &values_of(parts))
    }

    /// The conformal p-value of a local score: `(1 + #{calibration >= score}) / (n + 1)`. For a
    /// normal image it is uniform on its values; a small one speaks for an anomaly.
    pub fn p_value(&self, score: f64) -> f64 {
        conformal::p_value(&self.scores, score)
    }

    /// The local score above which an image is called anomalous, so that a share of at most
    /// `false_positive_rate` of normal images is; infinite when there are too few images to tell
    /// such a share.
    pub fn threshold(&self, false_positive_rate: f64) -> f64 {
        conformal::threshold(&self.scores, false_positive_rate)
    }

    /// The numbers of values in a scale and of scores as little-endian `u64`; the scales' values
    /// and the scores as little-endian `f64`; the memory bank.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        for count in [self.scales[0].values().len(), self.scores.len()] {
            out.extend((count as u64).to_le_bytes());
        }
        let scales = self.scales.iter().map(RankNormalizer::values);
        let values = scales.chain([&self.scores[..]]).flatten();
        out.extend(values.flat_map(|value| value.to_le_bytes()));
        self.memory_bank.encode(out);
    }

    /// What [`Self::encode`] wrote, and nothing after it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CalibrationError> {
        let mut reader = Reader::new(bytes);
        let (in_scale, scores) = (reader.count()?, reader.count()?);
        let scales = reader.f64s(product(&[in_scale, PARTS])?)?;
        let scores = reader.f64s(scores)?;
        let scale = |part: usize| {
            let values = &scales[part * in_scale..][..in_scale];
            if !is_ascending(values) {
                return Err(CalibrationError::Values("scales"));
            }
            Ok(RankNormalizer::new(values.to_vec())?)
        };
        let calibration = Self {
            scales: [scale(0)?, scale(1)?, scale(2)?, scale(3)?],
            scores,
            memory_bank: MemoryBank::decode(reader.rest())?,
        };
        if !is_ascending(&calibration.scores) {
            return Err(CalibrationError::Values("local scores"));
        }
        Ok(calibration)
    }
}

/// The parts of images x (n x D) with log-joints (n).
fn parts_of_all(
    memory_bank: &MemoryBank,
    x: &[f32],
    log_joint: &[f64],
) -> Result<Vec<[f64; PARTS]>, FitError> {
    let values = memory_bank.values();
    let expected = log_joint.len().saturating_mul(values);
    check_length("the normal images", expected, x.len())?;
    let images = x.chunks(values).zip(log_joint);
    let parts: Vec<[f64; PARTS]> = images
        .map(|(x, log_joint)| values_of(&memory_bank.parts(x, *log_joint)))
        .collect();
    for (part, name) in PART_NAMES.into_iter().enumerate() {
        check_finite(name, parts.iter().map(|parts| parts[part].is_finite()))?;
    }
    Ok(parts)
}

fn sum(scales: &[RankNormalizer; PARTS], parts: &[f64; PARTS]) -> f64 {
    let scores = scales.iter().zip(parts);
    let sum: f64 = scores
        .zip(WEIGHTS)
        .map(|((scale, part), weight)| weight * scale.score(*part))
        .sum();
    sum / WEIGHTS
        .map(|weight| weight * weight)
        .iter()
        .sum::<f64>()
        .sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::neighbours::KnnDistance;
    use crate::testing::memory_bank_of;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    fn normal(rng: &mut ChaCha8Rng) -> f64 {
        StandardNormal.sample(rng)
    }

    /// Images of `D` standard normal values.
    fn images(rng: &mut ChaCha8Rng, n: usize) -> (Vec<f32>, Vec<f64>) {
        let x = (0..n * D).map(|_| normal(rng) as f32).collect();
        let log_joint = (0..n).map(|_| -normal(rng).powi(2)).collect();
        (x, log_joint)
    }

    const D: usize = 4;
    const FAR: KnnDistance = KnnDistance {
        nearest: 1.0,
        relative: 1.0,
    };

    fn calibration(seed: u64, n: usize) -> (LocalCalibration, ChaCha8Rng) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (memory_bank, _) = images(&mut rng, 200);
        let memory_bank = memory_bank_of(&memory_bank, [1, 2, 2]).unwrap();
        let (x, log_joint) = images(&mut rng, n);
        let calibration = LocalCalibration::new(memory_bank, &x, &log_joint).unwrap();
        (calibration, rng)
    }

    #[test]
    fn p_values_of_normal_images_are_uniform() {
        let mut p_values = Vec::new();
        for seed in 0..40 {
            let (calibration, mut rng) = calibration(seed, 198);
            let (x, log_joint) = images(&mut rng, 50);
            for (x, log_joint) in x.chunks(D).zip(log_joint) {
                let score = calibration.score(&calibration.parts(x, log_joint));
                p_values.push(calibration.p_value(score));
            }
        }
        let n = p_values.len() as f64;
        for bound in [0.1, 0.25, 0.5, 0.75, 0.9] {
            let share = p_values.iter().filter(|p| **p <= bound).count() as f64 / n;
            // Calibration sets vary; the mean over all of them deviates by about 0.015.
            assert!(
                (share - bound).abs() < 0.05,
                "{share} are at or below {bound}"
            );
        }
    }

    #[test]
    fn every_part_raises_the_score() {
        let (calibration, _) = calibration(1, 100);
        let parts = Parts {
            negative_log_joint: 1.0,
            pixels: FAR,
            edges: FAR,
        };
        let score = calibration.score(&parts);
        let mut surprising = parts;
        surprising.negative_log_joint += 1.0;
        let mut remote = parts;
        remote.pixels.nearest += 1.0;
        let mut odd = parts;
        odd.edges.nearest += 1.0;
        let mut sparse = parts;
        sparse.edges.relative += 1.0;
        for other in [surprising, remote, odd, sparse] {
            assert!(calibration.score(&other) > score, "{other:?}");
        }
        // The sum is that of the parts' scores.
        let scales = calibration.scales.iter().zip([0.5, 1.0, 2.0, 1.0]);
        let by_hand: f64 = scales
            .map(|(scale, weight)| weight * scale.score(1.0))
            .sum();
        assert!((score - by_hand / 6.25_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn above_the_threshold_is_a_p_value_within_the_rate() {
        let (calibration, mut rng) = calibration(2, 198);
        for rate in [0.01, 0.05, 0.5, 1.0] {
            let threshold = calibration.threshold(rate);
            for _ in 0..200 {
                let score = 2.0 * normal(&mut rng);
                let p_value = calibration.p_value(score);
                assert_eq!(score > threshold, p_value < rate + 1e-9, "{rate} {score}");
            }
        }
        assert_eq!(calibration.threshold(0.001), f64::INFINITY);
    }

    #[test]
    fn images_that_make_no_calibration_are_refused_with_the_reason() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (memory_bank, _) = images(&mut rng, 200);
        let memory_bank = memory_bank_of(&memory_bank, [1, 2, 2]).unwrap();
        let (x, mut log_joint) = images(&mut rng, 60);
        let refused = |x: &[f32], log_joint: &[f64]| {
            let calibration = LocalCalibration::new(memory_bank.clone(), x, log_joint);
            calibration.unwrap_err().to_string()
        };
        for (x, log_joint, reason) in [
            (
                &x[..39 * D],
                &log_joint[..39],
                "expected at least 40 normal images to calibrate on, got 39",
            ),
            (
                &x[1..],
                &log_joint[..],
                "the normal images: expected 240 values, got 239",
            ),
        ] {
            assert_eq!(refused(x, log_joint), reason);
        }
        log_joint[50] = f64::NAN;
        let reason = "negative log joints: expected finite values, value 50 is NaN or infinite";
        assert_eq!(refused(&x, &log_joint), reason);
    }

    #[test]
    fn survives_its_file_and_refuses_a_cut_one() {
        let (calibration, _) = calibration(4, 60);
        let mut bytes = Vec::new();
        calibration.encode(&mut bytes);
        assert_eq!(LocalCalibration::decode(&bytes), Ok(calibration));
        let cut = Err(CalibrationError::Size);
        assert_eq!(LocalCalibration::decode(&bytes[..bytes.len() - 1]), cut);
        assert_eq!(LocalCalibration::decode(&[0xff; 64]), cut);
        bytes[16..24].copy_from_slice(&1e300_f64.to_le_bytes());
        let error = Err(CalibrationError::Values("scales"));
        assert_eq!(LocalCalibration::decode(&bytes), error, "not ascending");
    }
}
