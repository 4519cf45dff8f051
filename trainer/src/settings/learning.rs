//! How it is learned.

use serde::{Deserialize, Serialize};

use super::IncompleteSettings;

/// How it is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningSettings {
    /// Number of iterations.
    pub iterations: u64,
    /// Images in a batch.
    pub batch_size: usize,
    /// Adam's learning rate for the generator, at the start.
    pub generator_learning_rate: f64,
    /// Adam's learning rate for the flow, at the start.
    pub flow_learning_rate: f64,
    /// Adam's learning rate for the energy, at the start.
    #[serde(default = "ebm_learning_rate")]
    pub ebm_learning_rate: f64,
    /// What share of them is left at the end.
    pub final_learning_rate_share: f64,
    /// Longer gradients of the generator are cut to this length.
    pub generator_max_gradient_norm: f64,
    /// Longer gradients of the flow are cut to this length.
    pub flow_max_gradient_norm: f64,
    /// Longer gradients of the energy are cut to this length.
    #[serde(default = "ebm_max_gradient_norm")]
    pub ebm_max_gradient_norm: f64,
    /// Share of the old average of weights that stays per iteration.
    pub average_decay: f64,
    /// Where latents come from while learning.
    #[serde(default)]
    pub inference: InferenceName,
    /// Langevin inference while learning.
    pub langevin: LangevinSettings,
    /// The encoder, of `vae` or beside Langevin chains.
    #[serde(default)]
    pub encoder: EncoderSettings,
    /// What `vae` has beside it.
    #[serde(default)]
    pub vae: VaeSettings,
    /// What is hidden of the images that are fitted.
    #[serde(default)]
    pub incomplete: IncompleteSettings,
}

/// For runs from before the setting was.
fn ebm_learning_rate() -> f64 {
    1e-4
}

/// For runs from before the setting was.
fn ebm_max_gradient_norm() -> f64 {
    10.0
}

/// Where latents come from while learning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InferenceName {
    /// Short-run Langevin dynamics.
    #[default]
    Langevin,
    /// An encoder.
    Vae,
}

/// Langevin inference while learning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LangevinSettings {
    /// K.
    pub steps: usize,
    /// s.
    pub step_size: f64,
    /// The last so many steps add no noise.
    pub noise_free_steps: usize,
    /// Whether an encoder learns where the chains end, for a bundle's chains to start at.
    #[serde(default)]
    pub encoder: bool,
}

/// The encoder, of `learning.inference = "vae"` or beside Langevin chains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSettings {
    /// Channels of its first convolution.
    pub width: usize,
    /// Adam's learning rate, at the start.
    pub learning_rate: f64,
    /// Longer gradients are cut to this length.
    pub max_gradient_norm: f64,
}

/// For runs from before the setting was: the defaults.
impl Default for EncoderSettings {
    fn default() -> Self {
        Self {
            width: 16,
            learning_rate: 1e-3,
            max_gradient_norm: 100.0,
        }
    }
}

/// What `learning.inference = "vae"` has beside the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeSettings {
    /// Values that the flow steps see of the image.
    pub context: usize,
    /// Inverse autoregressive flow steps.
    pub iaf_steps: usize,
    /// Hidden units in each layer of their networks.
    pub iaf_hidden: usize,
    /// Updates of prior and encoder per iteration.
    pub updates_per_iteration: u64,
}

/// For runs from before the setting was: the defaults.
impl Default for VaeSettings {
    fn default() -> Self {
        Self {
            context: 32,
            iaf_steps: 5,
            iaf_hidden: 64,
            updates_per_iteration: 1,
        }
    }
}
