//! Learning from incomplete images.

use serde::{Deserialize, Serialize};

use crate::data::{Dataset, Mask};

/// Which pixels of the fitted images are hidden.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IncompleteSettings {
    /// The mask; without one, no pixel is hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<Mask>,
    /// With the image's number in the data set, determines its hidden pixels.
    pub seed: u64,
}

impl IncompleteSettings {
    /// The masks of the images at `indices`, n x H W with 1 for a visible pixel; `None` when
    /// nothing is hidden.
    pub fn masks(&self, dataset: &Dataset, indices: &[usize]) -> Option<Vec<f32>> {
        let mask = self.mask?;
        Some(dataset.masks(mask, self.seed, indices))
    }
}
