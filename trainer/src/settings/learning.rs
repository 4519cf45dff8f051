//! Settings of learning.

use serde::{Deserialize, Serialize};

use super::IncompleteSettings;
use crate::fit::ChainPrecision;

/// Settings of learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningSettings {
    /// Number of iterations.
    pub iterations: u64,
    /// Sites that are fitted at most, where images have sites.
    #[serde(default)]
    pub sites: usize,
    /// Images, or sites, in a batch.
    pub batch_size: usize,
    /// Adam's learning rate for the generator, at the start.
    pub generator_learning_rate: f64,
    /// Adam's learning rate for the flow, at the start.
    pub flow_learning_rate: f64,
    /// Adam's learning rate for the energy, at the start.
    #[serde(default = "ebm_learning_rate")]
    pub ebm_learning_rate: f64,
    /// The final fraction of the learning rates.
    pub final_learning_rate_share: f64,
    /// Gradients of the generator are clipped to this norm.
    pub generator_max_gradient_norm: f64,
    /// Gradients of the flow are clipped to this norm.
    pub flow_max_gradient_norm: f64,
    /// Gradients of the energy are clipped to this norm.
    #[serde(default = "ebm_max_gradient_norm")]
    pub ebm_max_gradient_norm: f64,
    /// Decay of Adam's average of gradients.
    #[serde(default = "adam_beta1")]
    pub adam_beta1: f64,
    /// Decay of the running average of weights per iteration.
    pub average_decay: f64,
    /// Where latents come from while learning.
    #[serde(default)]
    pub inference: InferenceName,
    /// Langevin inference while learning.
    pub langevin: LangevinSettings,
    /// The encoder, of `vae` or fitted beside Langevin chains.
    #[serde(default)]
    pub encoder: EncoderSettings,
    /// Settings of `vae` besides the encoder.
    #[serde(default)]
    pub vae: VaeSettings,
    /// Which pixels of the fitted images are hidden.
    #[serde(default)]
    pub incomplete: IncompleteSettings,
}

/// The default, for runs that were recorded before this setting existed.
fn ebm_learning_rate() -> f64 {
    1e-4
}

/// The default, for runs that were recorded before this setting existed.
fn ebm_max_gradient_norm() -> f64 {
    10.0
}

/// The default, for runs that were recorded before this setting existed.
fn adam_beta1() -> f64 {
    0.9
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
    /// Whether s is only the largest, and lowered where the posterior is curved more than that.
    #[serde(default)]
    pub adapt_step_size: bool,
    /// The number of last steps without noise.
    pub noise_free_steps: usize,
    /// Whether an encoder is fitted to the ends of the chains; a bundle's chains then start at it.
    #[serde(default)]
    pub encoder: bool,
    /// Whether chains start at a sample of that encoder while learning, too.
    #[serde(default)]
    pub from_encoder: bool,
    /// What the generator computes in, in chains.
    #[serde(default)]
    pub precision: ChainPrecision,
}

/// The encoder, of `learning.inference = "vae"` or fitted beside Langevin chains.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderSettings {
    /// Channels of its first convolution.
    pub width: usize,
    /// Adam's learning rate, at the start.
    pub learning_rate: f64,
    /// Gradients are clipped to this norm.
    pub max_gradient_norm: f64,
}

/// The default, for runs that were recorded before this setting existed.
impl Default for EncoderSettings {
    fn default() -> Self {
        Self {
            width: 16,
            learning_rate: 1e-3,
            max_gradient_norm: 100.0,
        }
    }
}

/// Settings of `learning.inference = "vae"` besides the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeSettings {
    /// Size of the context that the flow steps get from the image.
    pub context: usize,
    /// Inverse autoregressive flow steps.
    pub iaf_steps: usize,
    /// Hidden units in each layer of their networks.
    pub iaf_hidden: usize,
    /// Updates of prior and encoder per iteration.
    pub updates_per_iteration: u64,
}

/// The default, for runs that were recorded before this setting existed.
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
