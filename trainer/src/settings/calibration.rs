//! What scores are compared with.

use lfbm_bundle::manifest::Decision;
use lfbm_detector::fewest_images;
use serde::{Deserialize, Serialize};

use crate::data::CalibrationCount;

/// What scores are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationSettings {
    /// Decides the split.
    pub split_seed: u64,
    /// Normal images kept out of fitting; without it as many as the data allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
    /// Share of normal images that the default threshold calls anomalous.
    pub false_positive_rate: f64,
    /// Images of the fit, at most, that others are compared with.
    #[serde(default = "all_images")]
    pub neighbours: usize,
    /// The score that makes the verdict.
    #[serde(default = "local")]
    pub decision: Decision,
}

impl CalibrationSettings {
    /// How many normal images are kept out of fitting.
    pub fn images(&self) -> CalibrationCount {
        CalibrationCount {
            wanted: self.count,
            fewest: fewest_images(self.false_positive_rate).unwrap_or(usize::MAX),
        }
    }
}

/// For runs from before the setting was.
fn all_images() -> usize {
    50_000
}

/// For runs from before the setting was.
fn local() -> Decision {
    Decision::Local
}
