//! The images that a model is for.

use lfbm_images::{Intake, Size};
use serde::{Deserialize, Serialize};

/// Shape and value range of an image, and how an image of any size becomes one.
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
    /// How images of other sizes become such.
    pub intake: Intake,
}

impl ImageSpec {
    /// Values of an image: C H W.
    pub fn pixels(&self) -> usize {
        self.channels * self.positions()
    }

    /// C, H, W.
    pub fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    /// Places of an image: H W.
    pub fn positions(&self) -> usize {
        self.height * self.width
    }

    /// Width and height.
    pub fn size(&self) -> Size {
        let side = |side| u32::try_from(side).unwrap_or(u32::MAX);
        Size {
            width: side(self.width),
            height: side(self.height),
        }
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
