//! False-alarm rates: which of them a calibration can tell, and the thresholds that belong to one.

use crate::calibration::Calibration;
use crate::verdict::{CalibrationSummary, Decision};

/// Lower rates would need more images than anybody can collect.
const SMALLEST: f64 = 1e-9;

/// Why a calibration has no thresholds for a false-alarm rate.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum RateError {
    /// It is no share of normal images.
    #[error("expected a false-alarm rate of at least {SMALLEST} and below 1, got {0}")]
    Range(f64),
    /// Too few normal images were kept out to tell so small a share of them.
    #[error(
        "expected a false-alarm rate of at least {smallest}, the smallest that the {images} normal \
         images of the calibration can tell, got {rate}, which takes at least {fewest}; calibrate on \
         more normal images, or ask for a larger rate"
    )]
    TooFewImages {
        /// The rate.
        rate: f64,
        /// The smallest that can be told.
        smallest: f64,
        /// The images that there are.
        images: usize,
        /// The fewest that tell it.
        fewest: usize,
    },
}

/// The smallest false-alarm rate that `ranked` scores of normal images tell, `1 / (ranked + 1)`.
pub fn smallest_rate(ranked: usize) -> f64 {
    let ranks = (ranked + 1) as f64;
    let rate = 1.0 / ranks;
    // Rounded down, it would be a rank less.
    if rate * ranks < 1.0 {
        rate.next_up()
    } else {
        rate
    }
}

impl Calibration {
    /// The smallest number of normal images that a threshold rests on.
    pub fn ranked(&self) -> usize {
        self.comparison().ranked().min(self.len())
    }

    /// The thresholds for a false-alarm rate, with `decision` as the score that makes the verdict.
    ///
    /// # Errors
    /// When the rate is out of its range, or there are too few images to tell it.
    pub fn at_rate(&self, rate: f64, decision: Decision) -> Result<CalibrationSummary, RateError> {
        if !(SMALLEST..1.0).contains(&rate) {
            return Err(RateError::Range(rate));
        }
        let fewest = self.comparison().fewest_images(rate);
        let fewest = fewest.ok_or(RateError::Range(rate))?;
        let summary = self.summary(rate, decision);
        if summary.tells_rate() {
            Ok(summary)
        } else {
            Err(RateError::TooFewImages {
                rate,
                smallest: smallest_rate(self.ranked()),
                images: self.len(),
                fewest,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sites::{Parts, Rule, SiteBank, SiteCalibration, SiteGrid};

    /// Of `n` images of one site each, whose scores are all different.
    fn calibration(n: usize) -> Calibration {
        let parts = |image: usize| Parts {
            negative_log_joint: vec![image as f32],
            distance: vec![(image * image) as f32],
        };
        let images: Vec<Parts> = (0..n).map(parts).collect();
        let grid = SiteGrid {
            rows: 1,
            columns: 1,
        };
        let rule = Rule {
            weights: [1.0, 1.0],
            by_place: false,
            smoothing: 0.0,
            centre: false,
            share: 1.0,
        };
        let bank = SiteBank::fit(&[0.0, 1.0], 1, &[0, 1], 2, 1).unwrap();
        let sites = SiteCalibration::new(bank, grid, rule, &images).unwrap();
        let densities: Vec<f32> = (0..n).map(|image| -(image as f32)).collect();
        Calibration::new(densities.clone(), densities, sites).unwrap()
    }

    #[test]
    fn a_rate_is_told_by_enough_images_and_its_smallest_is_told() {
        for n in [27, 40, 96, 97, 198] {
            let calibration = calibration(n);
            let smallest = smallest_rate(calibration.ranked());
            for decision in [Decision::LogJoint, Decision::Sites] {
                let summary = calibration.at_rate(smallest, decision).unwrap();
                assert_eq!(
                    (summary.decision, summary.false_positive_rate),
                    (decision, smallest)
                );
                assert!(
                    calibration
                        .at_rate(smallest.next_down() * 0.999, decision)
                        .is_err()
                );
                assert!(calibration.at_rate(1.0_f64.next_down(), decision).is_ok());
            }
        }
    }

    #[test]
    fn a_rate_that_is_not_told_is_refused_with_the_images_that_it_takes() {
        let error = calibration(40).at_rate(0.01, Decision::Sites).unwrap_err();
        let RateError::TooFewImages { images, fewest, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(images, 40);
        assert!(calibration(fewest).at_rate(0.01, Decision::Sites).is_ok());
        assert!(
            calibration(fewest - 1)
                .at_rate(0.01, Decision::Sites)
                .is_err()
        );
        for rate in [0.0, -0.1, 1.0, 2.0, 1e-12, f64::NAN, f64::INFINITY] {
            let error = calibration(40).at_rate(rate, Decision::Sites).unwrap_err();
            assert!(matches!(error, RateError::Range(_)), "{rate}");
        }
    }

    /// A smaller rate calls fewer images anomalous.
    #[test]
    fn thresholds_follow_the_rate() {
        let calibration = calibration(200);
        let at = |rate| calibration.at_rate(rate, Decision::Sites).unwrap();
        let (strict, loose) = (at(0.01), at(0.2));
        assert!(strict.threshold_log_joint < loose.threshold_log_joint);
        assert!(strict.threshold_site_score > loose.threshold_site_score);
        assert!(strict.map_threshold > loose.map_threshold);
        let fitted = calibration.summary(0.2, Decision::Sites);
        assert_eq!(fitted, loose);
    }
}
