//! What scores are compared with.

use lfbm_bundle::manifest::Decision;
use serde::{Deserialize, Serialize};

/// What scores are compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationSettings {
    /// Decides the split.
    pub split_seed: u64,
    /// Normal images kept out of fitting.
    pub count: usize,
    /// Share of normal images that the default threshold calls anomalous.
    pub false_positive_rate: f64,
    /// Images of the fit, at most, that others are compared with.
    #[serde(default = "all_images")]
    pub neighbours: usize,
    /// The score that makes the verdict.
    #[serde(default = "local")]
    pub decision: Decision,
}

/// For runs from before the setting was.
fn all_images() -> usize {
    50_000
}

/// For runs from before the setting was.
fn local() -> Decision {
    Decision::Local
}
