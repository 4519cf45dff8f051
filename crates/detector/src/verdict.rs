//! Thresholds and the verdict.

use serde::{Deserialize, Serialize};

use crate::local;

/// Scores of the normal images in `calibration.bin`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationSummary {
    /// How many images.
    pub count: usize,
    /// Quantiles of their log-joint, ascending.
    pub quantiles: Vec<Quantile>,
    /// A log-joint below it is called anomalous.
    pub threshold_log_joint: f64,
    /// A local score above it is called anomalous.
    pub threshold_local_score: f64,
    /// Which of the two makes the verdict.
    pub decision: Decision,
    /// The share of normal images beyond either threshold.
    pub false_positive_rate: f64,
}

impl CalibrationSummary {
    /// Scores of normal images that the one that makes the verdict is ranked among.
    pub fn ranked(&self) -> usize {
        match self.decision {
            Decision::LogJoint => self.count,
            Decision::Local => local::ranked(self.count),
        }
    }

    /// The verdict: whether an image with these scores is called anomalous.
    pub fn anomalous(&self, log_joint: f64, local_score: f64) -> bool {
        match self.decision {
            Decision::LogJoint => log_joint < self.threshold_log_joint,
            Decision::Local => local_score > self.threshold_local_score,
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
}

/// One quantile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantile {
    /// The share of normal images at or below it.
    pub probability: f64,
    /// Its log-joint.
    pub log_joint: f64,
}
