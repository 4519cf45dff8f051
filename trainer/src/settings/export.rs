//! How the bundle is written.

use serde::{Deserialize, Serialize};

/// How the bundle is written; the defaults for runs that did not record it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportSettings {
    /// Iterations that the decoder of a model of features learns for; 0 for no decoder.
    #[serde(default)]
    pub decoder_iterations: u64,
    /// Matrices and kernels of generator and encoder.
    pub weights: FloatType,
}

/// The type of stored weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FloatType {
    /// Half precision, 11 binary digits.
    #[default]
    Float16,
    /// Single precision, 24 binary digits.
    Float32,
}
