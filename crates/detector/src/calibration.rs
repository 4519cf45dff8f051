//! What scores normal images get that the fit did not see.

use crate::bytes::{Reader, to_count};
use crate::comparison::Comparison;
use crate::conformal::is_ascending;
use crate::error::{CalibrationError, FitError, check_finite, check_length};
use crate::local::LocalCalibration;
use crate::memory_bank::MemoryBank;
use crate::score::{Aggregation, Score};
use crate::sites::SiteCalibration;
use crate::verdict::{CalibrationSummary, Decision, Quantile};

/// Log-densities of normal images, and how they compare with others, in `calibration.bin`. Of images with
/// sites, log-densities are sums over them.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    log_prior: Vec<f32>,
    log_likelihood: Vec<f32>,
    /// Ascending.
    log_joint: Vec<f64>,
    /// Whether a log-joint is more than the sum of its parts, as one over several chains is: the file
    /// has to hold them.
    aggregated: bool,
    comparison: Comparison,
}

/// Set in the number of images of a file that holds their log-joints.
const AGGREGATED: u64 = 1 << 63;
/// Set in it for a file that holds a [`SiteCalibration`] in the place of a [`LocalCalibration`].
const SITES: u64 = 1 << 62;

/// Probabilities of the quantiles in the manifest.
const PROBABILITIES: [f64; 11] = [0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 1.0];

impl Calibration {
    /// From the log-densities (n) of single chains, whose log-joint is their sum.
    ///
    /// # Errors
    /// When their lengths do not fit each other, or those of a [`SiteCalibration`].
    pub fn new(
        log_prior: Vec<f32>,
        log_likelihood: Vec<f32>,
        comparison: impl Into<Comparison>,
    ) -> Result<Self, FitError> {
        check_length("log-likelihoods", log_prior.len(), log_likelihood.len())?;
        let comparison = comparison.into();
        if let Comparison::Sites(sites) = &comparison {
            // Of images that were added after the fit, all are ranked.
            let of_fit = comparison.ranked_of(log_prior.len());
            let ranked = sites.ranked().clamp(of_fit, log_prior.len());
            check_length("scores of ranked images", ranked, sites.ranked())?;
        }
        let mut log_joint = sums(&log_prior, &log_likelihood);
        log_joint.sort_by(f64::total_cmp);
        Ok(Self {
            log_prior,
            log_likelihood,
            log_joint,
            aggregated: false,
            comparison,
        })
    }

    /// From the scores of normal images x (n x D), and images to compare with that are not among
    /// them.
    ///
    /// # Errors
    /// When they make no [`LocalCalibration`].
    pub fn from_scores(
        scores: &[Score],
        x: &[f32],
        memory_bank: MemoryBank,
    ) -> Result<Self, FitError> {
        let log_joint: Vec<f64> = scores.iter().map(|score| score.log_joint).collect();
        Self::of(scores, LocalCalibration::new(memory_bank, x, &log_joint)?)
    }

    /// From the scores of normal images (n), and what was made of the same images' sites. The score of an image is
    /// that which [`sum_sites`](crate::sites::sum_sites) makes of its sites' scores.
    ///
    /// # Errors
    /// When they are not as many images.
    pub fn from_sites(scores: &[Score], sites: SiteCalibration) -> Result<Self, FitError> {
        Self::of(scores, sites)
    }

    /// With the scores of further normal images, and a comparison that they were added to, by
    /// [`LocalCalibration::extended`] or [`SiteCalibration::extended`].
    ///
    /// # Errors
    /// When the comparison does not rank that many images more, or a score is NaN or infinite.
    pub fn extended(
        &self,
        scores: &[Score],
        comparison: impl Into<Comparison>,
    ) -> Result<Self, FitError> {
        let comparison = comparison.into();
        let expected = self.comparison.ranked() + scores.len();
        check_length("scores of ranked images", expected, comparison.ranked())?;
        let finite = scores.iter().map(|score| score.log_joint.is_finite());
        check_finite("log-joints of normal images", finite)?;
        let new = Densities::of(scores);
        let mut log_joint = [&self.log_joint[..], &new.log_joint].concat();
        log_joint.sort_by(f64::total_cmp);
        Ok(Self {
            log_joint,
            aggregated: self.aggregated || new.aggregated,
            ..Self::new(
                [&self.log_prior[..], &new.log_prior].concat(),
                [&self.log_likelihood[..], &new.log_likelihood].concat(),
                comparison,
            )?
        })
    }

    fn of(scores: &[Score], comparison: impl Into<Comparison>) -> Result<Self, FitError> {
        let mut densities = Densities::of(scores);
        densities.log_joint.sort_by(f64::total_cmp);
        Ok(Self {
            log_joint: densities.log_joint,
            aggregated: densities.aggregated,
            ..Self::new(densities.log_prior, densities.log_likelihood, comparison)?
        })
    }

    /// Whether it can hold the log-joints that several chains make under `how`, which a file from
    /// before they were written cannot for all.
    pub fn fits(&self, how: Aggregation, chains: u32) -> bool {
        self.aggregated || chains == 1 || how != Aggregation::LogMeanExp
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.log_joint.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.log_joint.is_empty()
    }

    /// log p(z) of each image.
    pub fn log_prior(&self) -> &[f32] {
        &self.log_prior
    }

    /// log p(x|z) of each image.
    pub fn log_likelihood(&self) -> &[f32] {
        &self.log_likelihood
    }

    /// log p(z) + log p(x|z) of each image, ascending.
    pub fn log_joint(&self) -> &[f64] {
        &self.log_joint
    }

    /// What says how unlike an image is to the normal ones nearest to it.
    pub fn comparison(&self) -> &Comparison {
        &self.comparison
    }

    /// The comparison of whole images, if it is that one.
    pub fn local(&self) -> Option<&LocalCalibration> {
        match &self.comparison {
            Comparison::Local(local) => Some(local),
            Comparison::Sites(_) => None,
        }
    }

    /// The comparison of sites, if it is that one.
    pub fn sites(&self) -> Option<&SiteCalibration> {
        match &self.comparison {
            Comparison::Local(_) => None,
            Comparison::Sites(sites) => Some(sites),
        }
    }

    /// The conformal p-value of an image: `(1 + #{calibration <= log_joint}) / (n + 1)`. For a
    /// normal image it is uniform on its values; a small one speaks for an anomaly.
    pub fn p_value(&self, log_joint: f64) -> f64 {
        let at_or_below = self
            .log_joint
            .partition_point(|&present| present <= log_joint);
        (1 + at_or_below) as f64 / (self.len() + 1) as f64
    }

    /// The log-joint below which an image is called anomalous, so that a share of at most
    /// `false_positive_rate` of normal images is; minus infinity when there are too few images to
    /// tell such a share.
    pub fn threshold(&self, false_positive_rate: f64) -> f64 {
        let below =
            (false_positive_rate.clamp(0.0, 1.0) * (self.len() + 1) as f64).floor() as usize;
        match below.checked_sub(1) {
            Some(index) => self.log_joint.get(index).copied().unwrap_or(f64::INFINITY),
            None => f64::NEG_INFINITY,
        }
    }

    /// The value below which a share `probability` of the images lies, by linear interpolation.
    pub fn quantile(&self, probability: f64) -> f64 {
        let position = probability.clamp(0.0, 1.0) * self.len().saturating_sub(1) as f64;
        let at = |index: usize| self.log_joint.get(index).copied().unwrap_or(f64::NAN);
        let (low, high) = (at(position.floor() as usize), at(position.ceil() as usize));
        low + (high - low) * position.fract()
    }

    /// What the manifest says of it. Of the two scores that come from a comparison, `decision` becomes
    /// the one that there is.
    pub fn summary(&self, false_positive_rate: f64, decision: Decision) -> CalibrationSummary {
        let compared = match self.comparison {
            Comparison::Local(_) => Decision::Local,
            Comparison::Sites(_) => Decision::Sites,
        };
        let local = self.local();
        let sites = self.sites();
        let ranked = self.comparison.ranked();
        CalibrationSummary {
            count: self.len(),
            ranked_images: (ranked != self.comparison.ranked_of(self.len())).then_some(ranked),
            quantiles: PROBABILITIES
                .map(|probability| Quantile {
                    probability,
                    log_joint: self.quantile(probability),
                })
                .to_vec(),
            threshold_log_joint: self.threshold(false_positive_rate),
            threshold_local_score: local.map(|local| local.threshold(false_positive_rate)),
            threshold_site_score: sites.map(|sites| sites.threshold(false_positive_rate)),
            map_threshold: sites.map(|sites| sites.map_threshold(false_positive_rate)),
            decision: match decision {
                Decision::LogJoint => Decision::LogJoint,
                Decision::Local | Decision::Sites => compared,
            },
            false_positive_rate,
        }
    }

    /// `calibration.bin`: the number n of images as a little-endian `u64`, n log-priors and n
    /// log-likelihoods as little-endian `f32`, and the local calibration. Where log-joints are more
    /// than the sums of those, the highest bit of the number is set, and they stand before the local
    /// calibration, ascending, as little-endian `f64`. Where the second highest bit is set, the calibration
    /// of sites takes the place of the local one.
    pub fn encode(&self) -> Vec<u8> {
        let aggregated = if self.aggregated { AGGREGATED } else { 0 };
        let sites = if self.sites().is_some() { SITES } else { 0 };
        let mut bytes = (self.len() as u64 | aggregated | sites)
            .to_le_bytes()
            .to_vec();
        let densities = self.log_prior.iter().chain(&self.log_likelihood);
        bytes.extend(densities.flat_map(|value| value.to_le_bytes()));
        if self.aggregated {
            bytes.extend(self.log_joint.iter().flat_map(|value| value.to_le_bytes()));
        }
        match &self.comparison {
            Comparison::Local(local) => local.encode(&mut bytes),
            Comparison::Sites(sites) => sites.encode(&mut bytes),
        }
        bytes
    }

    /// What [`Self::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are not as many as their head says, or values are not usable.
    pub fn decode(bytes: &[u8]) -> Result<Self, CalibrationError> {
        let mut reader = Reader::new(bytes);
        let n = reader.u64()?;
        let (aggregated, of_sites) = (n & AGGREGATED != 0, n & SITES != 0);
        let n = to_count(n & !(AGGREGATED | SITES))?;
        let (log_prior, log_likelihood) = (reader.f32s(n)?, reader.f32s(n)?);
        let log_joint = aggregated.then(|| reader.f64s(n)).transpose()?;
        let comparison = if of_sites {
            Comparison::from(SiteCalibration::decode(reader.rest())?)
        } else {
            Comparison::from(LocalCalibration::decode(reader.rest())?)
        };
        let calibration = Self::new(log_prior, log_likelihood, comparison)?;
        let Some(log_joint) = log_joint else {
            return Ok(calibration);
        };
        if !is_ascending(&log_joint) {
            return Err(CalibrationError::Values("log-joints"));
        }
        Ok(Self {
            log_joint,
            aggregated: true,
            ..calibration
        })
    }
}

/// The log-densities of images, in their order.
struct Densities {
    log_prior: Vec<f32>,
    log_likelihood: Vec<f32>,
    log_joint: Vec<f64>,
    /// Whether a log-joint is more than the sum of its parts.
    aggregated: bool,
}

impl Densities {
    fn of(scores: &[Score]) -> Self {
        let part = |part: fn(&Score) -> f64| scores.iter().map(|s| part(s) as f32).collect();
        let log_prior: Vec<f32> = part(|score| score.log_prior);
        let log_likelihood: Vec<f32> = part(|score| score.log_likelihood);
        let log_joint: Vec<f64> = scores.iter().map(|score| score.log_joint).collect();
        Self {
            aggregated: log_joint != sums(&log_prior, &log_likelihood),
            log_prior,
            log_likelihood,
            log_joint,
        }
    }
}

/// The log-joints of single chains.
fn sums(log_prior: &[f32], log_likelihood: &[f32]) -> Vec<f64> {
    let parts = log_prior.iter().zip(log_likelihood);
    parts.map(|(&a, &b)| f64::from(a) + f64::from(b)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::Rule;
    use crate::testing::{memory_bank_of, site_calibration_of};

    fn calibration(log_prior: &[f32]) -> Calibration {
        let n = log_prior.len();
        let line = |n: usize| -> Vec<f32> { (0..n).map(|v| v as f32).collect() };
        let memory_bank = memory_bank_of(&line(20), [1, 1, 1]).unwrap();
        let log_joint = vec![0.0; 40];
        let local = LocalCalibration::new(memory_bank, &line(40), &log_joint).unwrap();
        Calibration::new(log_prior.to_vec(), vec![1.0; n], local).unwrap()
    }

    #[test]
    fn p_values_count_the_images_at_or_below() {
        let calibration = calibration(&[3.0, 1.0, 2.0, 0.0]);
        let p = |log_joint: f64| calibration.p_value(log_joint);
        assert_eq!([p(0.0), p(1.0), p(2.5), p(9.0)], [0.2, 0.4, 0.6, 1.0]);
    }

    #[test]
    fn at_most_the_asked_share_of_normals_is_below_the_threshold() {
        let calibration = calibration(&(0..99).map(|v| v as f32).collect::<Vec<_>>());
        for rate in [0.01, 0.05, 0.5, 1.0] {
            let threshold = calibration.threshold(rate);
            // The verdict and the p-value agree: below the threshold is p <= rate, strictly.
            for log_joint in (0..=101).map(f64::from) {
                assert_eq!(
                    log_joint < threshold,
                    calibration.p_value(log_joint) < rate + 1e-9,
                    "{rate}"
                );
            }
        }
        assert_eq!(calibration.threshold(0.001), f64::NEG_INFINITY);
    }

    /// Of several chains: the log-joint is neither the sum of the parts nor near it.
    fn aggregated() -> Calibration {
        let line: Vec<f32> = (0..40).map(|v| v as f32).collect();
        let score = |index: usize| Score {
            log_joint: index as f64 - 0.1,
            log_prior: index as f64,
            log_likelihood: 1.0,
            log_joint_std: 0.0,
            log_prior_std: 0.0,
            log_likelihood_std: 0.0,
            z: Vec::new(),
        };
        let scores: Vec<_> = (0..40).rev().map(score).collect();
        let memory_bank = memory_bank_of(&line[..20], [1, 1, 1]).unwrap();
        Calibration::from_scores(&scores, &line, memory_bank).unwrap()
    }

    #[test]
    fn ranks_are_those_of_the_scores_themselves_and_survive_the_file() {
        let calibration = aggregated();
        let read = Calibration::decode(&calibration.encode()).unwrap();
        assert_eq!(read, calibration);
        for index in 0..40 {
            let p_value = read.p_value(f64::from(index) - 0.1);
            assert_eq!(p_value, f64::from(index + 2) / 41.0);
        }
        assert!(read.fits(Aggregation::LogMeanExp, 4));
        assert!(!self::calibration(&[1.0, 2.0]).fits(Aggregation::LogMeanExp, 4));
        let mut bytes = calibration.encode();
        let joints = 8 + 40 * 8;
        bytes[joints..joints + 8].copy_from_slice(&1e300_f64.to_le_bytes());
        let error = Err(CalibrationError::Values("log-joints"));
        assert_eq!(Calibration::decode(&bytes), error, "not ascending");
    }

    #[test]
    fn survives_its_file_and_refuses_a_cut_one() {
        let calibration = calibration(&[3.0, 1.0, 2.0]);
        let bytes = calibration.encode();
        assert_eq!(Calibration::decode(&bytes), Ok(calibration));
        let cut = Err(CalibrationError::Size);
        assert_eq!(Calibration::decode(&bytes[..bytes.len() - 1]), cut);
        assert_eq!(Calibration::decode(&[0xff; 16]), cut);
    }

    /// Of thirty images with sites, whose log-joints are no sums of `f32`.
    fn of_sites() -> Calibration {
        let rule = Rule {
            weights: [1.0, 1.0],
            by_place: true,
            smoothing: 0.5,
            centre: false,
            share: 0.5,
        };
        let score = |index: usize| Score {
            log_joint: index as f64 + 0.1,
            log_prior: 0.1,
            log_likelihood: index as f64,
            log_joint_std: 0.0,
            log_prior_std: 0.0,
            log_likelihood_std: 0.0,
            z: Vec::new(),
        };
        let scores: Vec<_> = (0..30).map(score).collect();
        Calibration::from_sites(&scores, site_calibration_of(30, rule).unwrap()).unwrap()
    }

    #[test]
    fn one_of_sites_survives_its_file_and_refuses_a_cut_one() {
        let calibration = of_sites();
        assert!(calibration.local().is_none() && calibration.sites().is_some());
        let bytes = calibration.encode();
        assert_eq!(Calibration::decode(&bytes), Ok(calibration));
        for length in 0..bytes.len() {
            let cut = Err(CalibrationError::Size);
            assert_eq!(Calibration::decode(&bytes[..length]), cut, "{length}");
        }
        let mut bytes = bytes;
        bytes[7] &= !(1 << 6);
        assert!(Calibration::decode(&bytes).is_err(), "without its mark");
    }

    #[test]
    fn one_of_sites_is_of_as_many_images_as_densities() {
        let sites = of_sites().sites().unwrap().clone();
        let error = Calibration::new(vec![0.0; 40], vec![0.0; 40], sites).unwrap_err();
        assert_eq!(
            error.to_string(),
            "scores of ranked images: expected 26 values, got 20"
        );
    }

    /// The manifest of whole images stays as it was before there were sites.
    #[test]
    fn a_summary_has_the_thresholds_of_what_compares() {
        let whole = calibration(&[0.0; 40]).summary(0.05, Decision::Local);
        assert_eq!(whole.decision, Decision::Local);
        assert!(whole.threshold_local_score.is_some());
        assert_eq!(
            (whole.threshold_site_score, whole.map_threshold),
            (None, None)
        );
        let calibration = of_sites();
        let sites = calibration.summary(0.05, Decision::Local);
        assert_eq!(sites.decision, Decision::Sites);
        assert_eq!(sites.threshold_local_score, None);
        let of = calibration.sites().unwrap();
        assert_eq!(sites.threshold_site_score, Some(of.threshold(0.05)));
        assert_eq!(sites.map_threshold, Some(of.map_threshold(0.05)));
        assert_eq!(sites.ranked(), of.ranked());
        let joint = calibration.summary(0.05, Decision::LogJoint);
        assert_eq!(joint.decision, Decision::LogJoint);
    }
}
