//! What normal images, kept out of fitting, say of the scores of sites and of images.

use rayon::prelude::*;

use super::bank::SiteBank;
use super::division::{FEWEST_IMAGES, ranked};
use super::grid::SiteGrid;
use super::rule::Rule;
use super::scorer::{Parts, Scorer, check_parts};
use crate::bytes::Reader;
use crate::conformal::{self, is_ascending};
use crate::error::{CalibrationError, FitError, check_finite, check_length};

/// What normal images, kept out of fitting, say of the scores of sites and of images.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteCalibration {
    bank: SiteBank,
    scorer: Scorer,
    /// Scores of normal images that the scales were not made of, ascending.
    scores: Vec<f64>,
    /// The largest values of their maps, ascending.
    peaks: Vec<f64>,
}

/// An image's scores, each high for an anomaly, in standard deviations of normal sites.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteScore {
    /// S values.
    pub map: Vec<f32>,
    /// The mean of the largest share of the map, less the map's median where the rule says so ([`Rule`]); NaN if
    /// a value is NaN.
    pub score: f64,
    /// The largest value of the map; NaN if a value is NaN.
    pub peak: f64,
}

impl SiteCalibration {
    /// Normal images that it needs at least: eight for the scales, and nineteen to rank.
    pub const FEWEST_IMAGES: usize = FEWEST_IMAGES;

    /// From the sites to compare with, and the parts of normal images that are not among them. The first
    /// images make the scales; the [`ranked`] last ones have the scores that others are ranked among.
    ///
    /// # Errors
    /// When the grid or the rule is out of range, there are fewer than 27 images, one has other than S values
    /// of a part, or a value is NaN or infinite.
    pub fn new(
        bank: SiteBank,
        grid: SiteGrid,
        rule: Rule,
        images: &[Parts],
    ) -> Result<Self, FitError> {
        let n = images.len();
        if n < Self::FEWEST_IMAGES {
            return Err(FitError::TooFew {
                what: "normal images to calibrate on",
                fewest: Self::FEWEST_IMAGES,
                got: n,
            });
        }
        check_parts(grid, images)?;
        let (first, last) = images.split_at(n - ranked(n));
        let unranked = Self {
            bank,
            scorer: Scorer::fit(grid, rule, first)?,
            scores: Vec::new(),
            peaks: Vec::new(),
        };
        unranked.with_ranked(last)
    }

    /// With a bank that has sites of further normal images, and the parts of others that are not in it. Their
    /// scores join those that others are ranked among; the scales and the rule stay.
    ///
    /// # Errors
    /// When the bank is of sites of another size, an image has other than S values of a part, or a value
    /// is NaN or infinite.
    pub fn extended(&self, bank: SiteBank, images: &[Parts]) -> Result<Self, FitError> {
        check_length("a site of the bank", self.bank.values(), bank.values())?;
        check_parts(self.scorer.grid(), images)?;
        let extended = Self {
            bank,
            ..self.clone()
        };
        extended.with_ranked(images)
    }

    /// With the scores of more images to rank among.
    fn with_ranked(mut self, images: &[Parts]) -> Result<Self, FitError> {
        let scorer = &self.scorer;
        let scored: Vec<SiteScore> = images
            .par_iter()
            .map(|parts| score(scorer, parts))
            .collect();
        let add = |what, to: &mut Vec<f64>, value: fn(&SiteScore) -> f64| {
            let values = || scored.iter().map(value);
            check_finite(what, values().map(|value| value.is_finite()))?;
            to.extend(values());
            to.sort_by(f64::total_cmp);
            Ok(())
        };
        add(
            "scores of normal images to rank",
            &mut self.scores,
            |scored| scored.score,
        )?;
        add(
            "peaks of normal images to rank",
            &mut self.peaks,
            |scored| scored.peak,
        )?;
        Ok(self)
    }

    /// The sites that others are compared with.
    pub fn bank(&self) -> &SiteBank {
        &self.bank
    }

    /// What makes a map and a score of an image's parts.
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// How many images p-values rank among.
    pub fn ranked(&self) -> usize {
        self.scores.len()
    }

    /// The map and the scores of an image's parts.
    pub fn score(&self, parts: &Parts) -> SiteScore {
        score(&self.scorer, parts)
    }

    /// The conformal p-value of an image's score: `(1 + #{calibration >= score}) / (n + 1)`. For a normal
    /// image it is uniform on its values; a small one speaks for an anomaly, and NaN has the smallest.
    pub fn p_value(&self, score: f64) -> f64 {
        conformal::p_value(&self.scores, score)
    }

    /// The score above which an image is called anomalous, so that a share of at most
    /// `false_positive_rate` of normal images is; infinite when there are too few images to tell such a share.
    pub fn threshold(&self, false_positive_rate: f64) -> f64 {
        conformal::threshold(&self.scores, false_positive_rate)
    }

    /// The conformal p-value of a value of a map: as [`Self::p_value`], among the largest values of the
    /// maps of normal images. So it holds for all sites of an image at once.
    pub fn p_value_of_site(&self, value: f64) -> f64 {
        conformal::p_value(&self.peaks, value)
    }

    /// The value above which a site is called anomalous, so that a share of at most `false_positive_rate` of
    /// normal images has such a site; infinite when there are too few images to tell such a share.
    pub fn map_threshold(&self, false_positive_rate: f64) -> f64 {
        conformal::threshold(&self.peaks, false_positive_rate)
    }

    /// The number n of ranked images as a little-endian `u64`; the scorer; n scores and n peaks as
    /// little-endian `f64`; the bank.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend((self.ranked() as u64).to_le_bytes());
        self.scorer.encode(out);
        let values = self.scores.iter().chain(&self.peaks);
        out.extend(values.flat_map(|value| value.to_le_bytes()));
        self.bank.encode(out);
    }

    /// What [`Self::encode`] wrote, and nothing after it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CalibrationError> {
        let mut reader = Reader::new(bytes);
        let ranked = reader.count()?;
        let scorer = Scorer::decode(&mut reader)?;
        let scores = reader.f64s(ranked)?;
        let peaks = reader.f64s(ranked)?;
        for (values, what) in [(&scores, "scores of images"), (&peaks, "peaks of images")] {
            if !is_ascending(values) {
                return Err(CalibrationError::Values(what));
            }
        }
        Ok(Self {
            bank: SiteBank::decode(reader.rest())?,
            scorer,
            scores,
            peaks,
        })
    }
}

fn score(scorer: &Scorer, parts: &Parts) -> SiteScore {
    let map = scorer.map(parts);
    let larger = |peak: f64, value: &f32| {
        let value = f64::from(*value);
        // `max` would pass over NaN.
        if peak.is_nan() || value <= peak {
            peak
        } else {
            value
        }
    };
    SiteScore {
        score: scorer.pooled(&map),
        peak: map.iter().fold(f64::NEG_INFINITY, larger),
        map,
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::tests::PLAIN;
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use rand_distr::{Distribution, StandardNormal};

    const GRID: SiteGrid = SiteGrid {
        rows: 4,
        columns: 5,
    };
    const SITES: usize = 20;
    const D: usize = 3;

    fn bank(rng: &mut ChaCha8Rng) -> SiteBank {
        let x: Vec<f32> = (0..2 * SITES * D).map(|_| rng.random()).collect();
        let images: Vec<u32> = (0..2 * SITES as u32)
            .map(|site| site / SITES as u32)
            .collect();
        SiteBank::fit(&x, D, &images, 16, 1).unwrap()
    }

    /// Parts that are larger on the left, where they vary the more, than on the right.
    fn parts(rng: &mut ChaCha8Rng) -> Parts {
        let mut values = || {
            let values = (0..SITES).map(|site| {
                let normal: f64 = StandardNormal.sample(rng);
                let left = (5 - site % 5) as f64;
                (left * (10.0 + normal)) as f32
            });
            values.collect()
        };
        Parts {
            negative_log_joint: values(),
            distance: values(),
        }
    }

    fn many(rng: &mut ChaCha8Rng, n: usize) -> Vec<Parts> {
        (0..n).map(|_| parts(rng)).collect()
    }

    fn calibration(seed: u64, n: usize, rule: Rule) -> (SiteCalibration, ChaCha8Rng) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let bank = bank(&mut rng);
        let images = many(&mut rng, n);
        let calibration = SiteCalibration::new(bank, GRID, rule, &images).unwrap();
        (calibration, rng)
    }

    const RULE: Rule = Rule {
        by_place: true,
        smoothing: 0.7,
        centre: true,
        share: 0.1,
        ..PLAIN
    };

    #[test]
    fn p_values_of_normal_images_are_uniform() {
        for (rule, n) in [(RULE, 198), (PLAIN, 39)] {
            let mut p_values: [Vec<f64>; 2] = Default::default();
            for seed in 0..100 {
                let (calibration, mut rng) = calibration(seed, n, rule);
                for parts in many(&mut rng, 20) {
                    let scored = calibration.score(&parts);
                    p_values[0].push(calibration.p_value(scored.score));
                    p_values[1].push(calibration.p_value_of_site(scored.peak));
                }
            }
            let ranked = ranked(n) as f64;
            for p_values in p_values {
                for bound in [0.1, 0.25, 0.5, 0.75, 0.9] {
                    let count = p_values.iter().filter(|p| **p <= bound).count() as f64;
                    let share = count / p_values.len() as f64;
                    // The values below the bound; a share deviates by 0.014 at most.
                    let expected = (bound * (ranked + 1.0) + 1e-9).floor() / (ranked + 1.0);
                    assert!((share - expected).abs() < 0.06, "{share} {expected}");
                }
            }
        }
    }

    #[test]
    fn above_a_threshold_is_a_p_value_within_the_rate() {
        let (calibration, mut rng) = calibration(2, 60, RULE);
        for rate in [0.04, 0.1, 0.5, 1.0] {
            let (image, site) = (calibration.threshold(rate), calibration.map_threshold(rate));
            for _ in 0..200 {
                let value = 4.0 * rng.random::<f64>();
                let p_value = calibration.p_value(value);
                assert_eq!(value > image, p_value < rate + 1e-9, "{rate} {value}");
                let p_value = calibration.p_value_of_site(value);
                assert_eq!(value > site, p_value < rate + 1e-9, "{rate} {value}");
            }
        }
        assert_eq!(calibration.threshold(0.03), f64::INFINITY);
        assert_eq!(calibration.map_threshold(0.03), f64::INFINITY);
    }

    /// A value that is common on the left is rare on the right.
    #[test]
    fn what_is_unusual_only_at_its_place_is_found_by_place() {
        let p_value = |by_place: bool| {
            let (calibration, _) = calibration(3, 100, Rule { by_place, ..PLAIN });
            let usual = (0..SITES).map(|site| 10.0 * (5 - site % 5) as f32);
            let mut parts = Parts {
                negative_log_joint: usual.clone().collect(),
                distance: usual.collect(),
            };
            parts.distance[9] = 40.0;
            parts.negative_log_joint[9] = 40.0;
            let scored = calibration.score(&parts);
            let at = scored
                .map
                .iter()
                .position(|value| f64::from(*value) == scored.peak);
            (calibration.p_value(scored.score), at)
        };
        assert_eq!(p_value(true), (1.0 / 51.0, Some(9)));
        assert!(p_value(false).0 > 0.5);
    }

    #[test]
    fn a_part_that_is_no_number_has_the_smallest_p_value() {
        let (calibration, mut rng) = calibration(4, 60, RULE);
        let mut parts = parts(&mut rng);
        parts.distance[7] = f32::NAN;
        let scored = calibration.score(&parts);
        assert!(scored.score.is_nan() && scored.peak.is_nan());
        assert_eq!(calibration.p_value(scored.score), 1.0 / 31.0);
        assert_eq!(calibration.p_value_of_site(scored.peak), 1.0 / 31.0);
    }

    #[test]
    fn a_peak_is_the_largest_value_of_its_map() {
        let (calibration, mut rng) = calibration(5, 60, RULE);
        for parts in many(&mut rng, 20) {
            let scored = calibration.score(&parts);
            let largest = scored.map.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(scored.peak, f64::from(largest));
        }
    }

    #[test]
    fn images_that_make_no_calibration_are_refused_with_the_reason() {
        let mut rng = ChaCha8Rng::seed_from_u64(6);
        let bank = bank(&mut rng);
        let mut images = many(&mut rng, 27);
        let refused = |images: &[Parts]| {
            let calibration = SiteCalibration::new(bank.clone(), GRID, RULE, images);
            calibration.unwrap_err().to_string()
        };
        let few = "expected at least 27 normal images to calibrate on, got 26";
        assert_eq!(refused(&images[1..]), few);
        images[20].distance[3] = f32::NAN;
        let reason = "distances of sites: expected finite values, value 403 is NaN or infinite";
        assert_eq!(refused(&images), reason);
        images[20].distance.pop();
        let short = "distances of sites: expected 20 values, got 19";
        assert_eq!(refused(&images), short);
    }

    #[test]
    fn survives_its_file_and_refuses_a_cut_one() {
        for rule in [RULE, PLAIN] {
            let (calibration, _) = calibration(7, 27, rule);
            let mut bytes = Vec::new();
            calibration.encode(&mut bytes);
            assert_eq!(SiteCalibration::decode(&bytes), Ok(calibration));
            for length in 0..bytes.len() {
                let error = Err(CalibrationError::Size);
                assert_eq!(SiteCalibration::decode(&bytes[..length]), error);
            }
        }
        assert!(SiteCalibration::decode(&[0xff; 256]).is_err());
    }

    #[test]
    fn a_file_with_values_that_mean_nothing_is_refused() {
        let (calibration, _) = calibration(8, 27, PLAIN);
        let mut bytes = Vec::new();
        calibration.encode(&mut bytes);
        let head = 4 * 8;
        let (scales, scores) = (head + 4 * 8, head + 8 * 8);
        let with = |at: usize, value: [u8; 8]| {
            let mut bytes = bytes.clone();
            bytes[at..at + 8].copy_from_slice(&value);
            SiteCalibration::decode(&bytes).unwrap_err()
        };
        let grid = with(8, [0; 8]);
        assert!(matches!(grid, CalibrationError::Fit(FitError::Grid { .. })));
        let marks = with(24, 4_u64.to_le_bytes());
        assert!(matches!(marks, CalibrationError::Marks(_)));
        let weight = with(head, (-1.0_f64).to_le_bytes());
        assert!(matches!(
            weight,
            CalibrationError::Fit(FitError::Rule { .. })
        ));
        let mean = with(scales, f64::NAN.to_le_bytes());
        assert!(matches!(
            mean,
            CalibrationError::Fit(FitError::NotFinite { .. })
        ));
        assert_eq!(with(scales + 8, [0; 8]), CalibrationError::Deviation);
        let order = with(scores, 1e300_f64.to_le_bytes());
        assert_eq!(order, CalibrationError::Values("scores of images"));
        let order = with(scores + 19 * 8, 1e300_f64.to_le_bytes());
        assert_eq!(order, CalibrationError::Values("peaks of images"));
    }
}
