//! Settings of the calibration.

use lfbm_bundle::manifest::Decision;
use lfbm_detector::{fewest_images, sites};
use serde::{Deserialize, Serialize};

use crate::data::CalibrationCount;

/// Settings of the calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationSettings {
    /// Determines the split.
    pub split_seed: u64,
    /// Normal images kept out of fitting; by default as many as the data allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Fraction of normal images beyond the threshold.
    pub false_positive_rate: f64,
    /// Stored images of the fit, at most, for kNN distances.
    #[serde(default = "all_images")]
    pub neighbours: usize,
    /// Stored sites of the fit, at most, where images have sites.
    #[serde(default)]
    pub sites: usize,
    /// Whether the bundle names the files of the stored images, and of those with a stored site.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub names: bool,
    /// The score that decides the verdict.
    #[serde(default = "local")]
    pub decision: Decision,
}

impl CalibrationSettings {
    /// How many normal images are kept out of fitting.
    pub fn images(&self) -> CalibrationCount {
        CalibrationCount {
            wanted: self.count,
            fewest: self.fewest_images().unwrap_or(usize::MAX),
            sites: self.decision == Decision::Sites,
        }
    }

    /// How many normal images the false-positive rate needs; `None` for a rate that no number tells.
    pub fn fewest_images(&self) -> Option<usize> {
        match self.decision {
            Decision::LogJoint | Decision::Local => fewest_images(self.false_positive_rate),
            Decision::Sites => sites::fewest_images(self.false_positive_rate),
        }
    }
}

/// The default, for runs that were recorded before this setting existed.
fn all_images() -> usize {
    50_000
}

/// The default, for runs that were recorded before this setting existed.
fn local() -> Decision {
    Decision::Local
}
