//! The settings of a fit: defaults, then a file, then flags.

mod calibration;
mod check;
mod export;
mod incomplete;
mod learning;
mod load;
mod model;
mod representation;
mod specs;

pub use calibration::CalibrationSettings;
pub use export::{ExportSettings, FloatType};
pub use incomplete::IncompleteSettings;
pub use learning::{
    EncoderSettings, InferenceName, LangevinSettings, LearningSettings, VaeSettings,
};
pub use load::DEFAULTS;
pub use model::{EbmSettings, ModelSettings};
pub(crate) use representation::LITE0;
pub use representation::{ContrastiveSettings, RepresentationName, RepresentationSettings};

use std::path::PathBuf;

use lfbm_bundle::manifest;
use serde::{Deserialize, Serialize};

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file or a flag is not valid TOML.
    #[error("{place}: {reason}")]
    Syntax {
        /// The file or flag.
        place: String,
        /// What the parser says.
        reason: String,
    },
    /// A setting is unknown or has the wrong type.
    #[error("settings: {0}")]
    Type(String),
    /// More noise-free steps than steps.
    #[error(
        "settings: {name} is {noise_free}, expected at most {of}, {steps}: change one of the two"
    )]
    NoiseFree {
        /// The setting.
        name: &'static str,
        /// Its value.
        noise_free: usize,
        /// The number of steps.
        of: &'static str,
        /// Its value.
        steps: usize,
    },
    /// A setting is out of its range.
    #[error("settings: {name} is {value}, expected {expected}")]
    Range {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// The allowed values.
        expected: String,
    },
}

/// All settings of a fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Determines initial weights, the order of images and all noise.
    pub seed: u64,
    /// What x is made of.
    #[serde(default)]
    pub representation: RepresentationSettings,
    /// The model.
    pub model: ModelSettings,
    /// Learning.
    pub learning: LearningSettings,
    /// How scores are inferred.
    pub inference: manifest::Langevin,
    /// Calibration.
    pub calibration: CalibrationSettings,
    /// How the bundle is written.
    #[serde(default)]
    pub export: ExportSettings,
    /// Reporting.
    pub run: RunSettings,
}

/// Reporting, in iterations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunSettings {
    /// Between two lines in a log.
    pub log_every: u64,
    /// Between two checkpoints.
    pub checkpoint_every: u64,
}
