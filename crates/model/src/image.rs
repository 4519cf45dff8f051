//! The images that a model is for.

use serde::{Deserialize, Serialize};

/// Shape and value range of an image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// 1 for grey, 3 for RGB.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// What intensities 0 and 1 become in x.
    pub value_range: [f32; 2],
    /// Contrast normalisation, before the value range.
    pub contrast: Contrast,
}

impl ImageSpec {
    /// Values of an image: C H W.
    pub fn pixels(&self) -> usize {
        self.channels * self.positions()
    }

    /// Places of an image: H W.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }
}

/// What is done about contrast before an image is scored.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Contrast {
    /// Nothing.
    None,
    /// Intensities in [0, 1] are scaled so that their L2 norm is `norm`.
    UnitNorm {
        /// The norm of every image afterwards.
        norm: f32,
    },
}
