//! What pictures of a sweep show.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::reproduction::measurement::{Measurement, Task};

/// A measure of a fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Of the log joint, the score that depends on the model most.
    Auprc,
    /// The Fréchet distance of samples to real images, by `trainer fid` without a network.
    Fid,
    /// Of reconstructed test images, intensities in [0, 1].
    SquaredError,
}

impl Measure {
    /// What it is of a fit, in words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Auprc => "AUPRC of the log joint",
            Self::Fid => "Fréchet distance of edges",
            Self::SquaredError => "squared error of reconstruction",
        }
    }

    /// The number of the bundle `name`; `None` if its evaluation has it.
    pub(super) fn measured(self, by: &Measurement<'_>, name: &str) -> anyhow::Result<Option<f64>> {
        match self {
            Self::Auprc => Ok(None),
            Self::Fid => by.frechet(name).map(Some),
            Self::SquaredError => by.squared_error(name, Task::Reconstruct).map(Some),
        }
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
