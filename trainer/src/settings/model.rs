//! Settings of the model.

use lfbm_bundle::manifest::{PriorKind, PriorSampling};
use lfbm_model::GeneratorName;
use serde::{Deserialize, Serialize};

/// Settings of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// The prior on latents.
    #[serde(default = "flow")]
    pub prior: PriorKind,
    /// The generator's architecture.
    pub generator: GeneratorName,
    /// Width n of the convolutional generators and of `features`.
    pub width: usize,
    /// Size d of the latent.
    pub latent_dim: usize,
    /// Standard deviation of a value of x around the generator's, in units of x.
    pub sigma: f64,
    /// Whether sigma is only the start, and then learned.
    #[serde(default)]
    pub learn_sigma: bool,
    /// Glow steps.
    pub flow_steps: usize,
    /// Hidden units in a coupling's layers.
    pub flow_hidden: usize,
    /// Gaussians in the mixture that is the base of the flow, at most; 0 for N(0, I).
    #[serde(default)]
    pub flow_components: usize,
    /// L2 norm that images are scaled to; 0 turns scaling off.
    pub contrast_norm: f32,
    /// The energy of the prior ebm.
    #[serde(default)]
    pub ebm: EbmSettings,
}

/// The default, for runs that were recorded before this setting existed.
fn flow() -> PriorKind {
    PriorKind::Flow
}

/// The energy of the prior ebm.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EbmSettings {
    /// Hidden units in each of two layers.
    pub hidden: usize,
    /// How it is sampled.
    pub sampling: PriorSampling,
}

/// The default, for runs that were recorded before this setting existed.
impl Default for EbmSettings {
    fn default() -> Self {
        Self {
            hidden: 200,
            sampling: PriorSampling {
                steps: 60,
                step_size: 0.4,
            },
        }
    }
}
