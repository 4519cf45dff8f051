//! Thresholds and the verdict.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{local, sites};

/// Scores of the normal images in `calibration.bin`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationSummary {
    /// How many images.
    pub count: usize,
    /// How many of their local or site scores an image's is ranked among, if `count` does not tell: images
    /// that were added after the fit all count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranked_images: Option<usize>,
    /// Quantiles of their log-joint, ascending.
    pub quantiles: Vec<Quantile>,
    /// A log-joint below it is called anomalous.
    pub threshold_log_joint: f64,
    /// A local score above it is called anomalous; of a model of whole images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_local_score: Option<f64>,
    /// A score of an image's sites above it is called anomalous; of a model of sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold_site_score: Option<f64>,
    /// A site with a value above it is called anomalous; of a model of sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_threshold: Option<f64>,
    /// Which score makes the verdict.
    pub decision: Decision,
    /// The share of normal images beyond any one of the thresholds.
    pub false_positive_rate: f64,
}

impl CalibrationSummary {
    /// Scores of normal images that the one that makes the verdict is ranked among.
    pub fn ranked(&self) -> usize {
        let compared = |of_fit: fn(usize) -> usize| {
            let ranked = self.ranked_images;
            ranked.unwrap_or_else(|| of_fit(self.count))
        };
        match self.decision {
            Decision::LogJoint => self.count,
            Decision::Local => compared(local::ranked),
            Decision::Sites => compared(sites::ranked),
        }
    }

    /// The threshold of the score that makes the verdict; `None` when it has none.
    pub fn deciding_threshold(&self) -> Option<f64> {
        match self.decision {
            Decision::LogJoint => Some(self.threshold_log_joint),
            Decision::Local => self.threshold_local_score,
            Decision::Sites => self.threshold_site_score,
        }
    }

    /// Whether there were enough images to tell the share `false_positive_rate` of them: all thresholds
    /// are finite.
    pub fn tells_rate(&self) -> bool {
        let compared = [
            self.threshold_local_score,
            self.threshold_site_score,
            self.map_threshold,
        ];
        let thresholds = compared.into_iter().flatten();
        let mut thresholds = thresholds.chain([self.threshold_log_joint]);
        thresholds.all(f64::is_finite)
    }

    /// The verdict: whether an image with these scores is called anomalous. `compared` is its local score, or
    /// the score of its sites. An image whose score is NaN is anomalous, and so is every image if there is no
    /// threshold.
    pub fn anomalous(&self, log_joint: f64, compared: f64) -> bool {
        let Some(threshold) = self.deciding_threshold() else {
            return true;
        };
        match self.decision {
            Decision::LogJoint => log_joint < threshold,
            Decision::Local | Decision::Sites => compared.is_nan() || compared > threshold,
        }
    }
}

/// The score that makes the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// log p(z) + log p(x|z).
    LogJoint,
    /// The local score: see [`local`](crate::local).
    Local,
    /// The score of an image's sites: see [`sites`](crate::sites).
    Sites,
}

/// One quantile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// The share of normal images at or below it.
    pub probability: f64,
    /// Its log-joint.
    pub log_joint: f64,
}

impl Decision {
    /// The word that settings, manifests and replies have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LogJoint => "log_joint",
            Self::Local => "local",
            Self::Sites => "sites",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(decision: Decision) -> CalibrationSummary {
        CalibrationSummary {
            count: 100,
            ranked_images: None,
            quantiles: Vec::new(),
            threshold_log_joint: -5.0,
            threshold_local_score: Some(2.0),
            threshold_site_score: Some(3.0),
            map_threshold: Some(9.0),
            decision,
            false_positive_rate: 0.05,
        }
    }

    #[test]
    fn the_deciding_score_makes_the_verdict() {
        for (decision, beyond, within) in [
            (Decision::LogJoint, (-5.5, 0.0), (-5.0, 9.0)),
            (Decision::Local, (0.0, 2.5), (-9.0, 2.0)),
            (Decision::Sites, (0.0, 3.5), (-9.0, 3.0)),
        ] {
            let summary = summary(decision);
            assert!(summary.anomalous(beyond.0, beyond.1), "{decision:?}");
            assert!(!summary.anomalous(within.0, within.1), "{decision:?}");
        }
        assert!(summary(Decision::Sites).anomalous(0.0, f64::NAN));
        let lacking = CalibrationSummary {
            threshold_site_score: None,
            ..summary(Decision::Sites)
        };
        assert!(lacking.anomalous(0.0, -9.0), "without a threshold");
    }

    #[test]
    fn an_infinite_threshold_tells_no_rate() {
        let whole = CalibrationSummary {
            threshold_site_score: None,
            map_threshold: None,
            ..summary(Decision::Local)
        };
        assert!(whole.tells_rate() && summary(Decision::Sites).tells_rate());
        let map = CalibrationSummary {
            map_threshold: Some(f64::INFINITY),
            ..summary(Decision::Sites)
        };
        assert!(!map.tells_rate());
    }
}
