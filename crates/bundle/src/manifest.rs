//! `manifest.json`: what a bundle is.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use lfbm_detector::{Aggregation, CalibrationSummary, Decision, Quantile};
pub use lfbm_model::{
    Contrast, ImageSpec, Intake, NetworkRecord, PriorKind, RepresentationKind, RepresentationSpec,
};

/// The version of the bundle format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Everything about a bundle that is no array.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The model's name: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The model's version; a higher one replaces a lower one.
    pub version: u64,
    /// When it was written, RFC 3339 in UTC.
    pub created: String,
    /// The images it scores.
    pub image: ImageSpec,
    /// What x is, and the sites that an image has.
    pub representation: RepresentationSpec,
    /// Size d of the latent.
    pub latent_dim: usize,
    /// Standard deviation of a value of x around the generator's.
    pub sigma: f32,
    /// Kind of prior.
    pub prior: PriorKind,
    /// How an energy-based prior is sampled; absent for priors with exact samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior_sampling: Option<PriorSampling>,
    /// Name of the generator's architecture.
    pub generator: String,
    /// Inference parameters that scores use unless a request says otherwise.
    pub langevin: Langevin,
    /// Where chains start.
    pub chain_start: ChainStart,
    /// Which classes were fitted.
    pub classes: Classes,
    /// How the model was fitted: the trainer's `TrainingRecord`, which this crate only carries; null for
    /// none.
    pub training: serde_json::Value,
    /// The summary of `trainer evaluate`; null before it ran.
    pub evaluation: serde_json::Value,
    /// What scores normal images get.
    pub calibration: CalibrationSummary,
    /// Every other file outside `report/`.
    pub files: BTreeMap<String, FileEntry>,
}

impl Manifest {
    /// Shape of one x: C, H, W of a whole image; D, 1, 1 of a site.
    pub fn x_shape(&self) -> [usize; 3] {
        self.representation.x_shape(&self.image)
    }

    /// Number S of sites of an image.
    pub fn sites(&self) -> usize {
        self.representation.sites()
    }

    /// Whether the bundle holds the graph that samples its prior.
    pub fn has_prior_graph(&self) -> bool {
        self.files.contains_key("prior.onnx")
    }

    /// Whether the bundle holds the graph that makes pixels of latents; a model of the pixels of whole images makes
    /// them by its generator.
    pub fn has_decoder(&self) -> bool {
        self.files.contains_key("decoder.onnx")
    }
}

/// Short-run Langevin sampling of a prior, from N(0, I).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorSampling {
    /// Number of steps, all with noise.
    pub steps: u32,
    /// Step size s.
    pub step_size: f32,
}

/// Short-run Langevin inference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Langevin {
    /// Number K of steps.
    pub steps: u32,
    /// Step size s.
    pub step_size: f32,
    /// How many of the last steps are taken without noise.
    pub noise_free_steps: u32,
    /// Chains per image, each from its own start.
    pub chains: u32,
    /// How the chains' densities become one.
    pub aggregation: Aggregation,
}

impl Langevin {
    /// The same inference, with no more noise-free steps than there are steps. Manifests and settings
    /// hold it so, since requests are compared with them.
    #[must_use]
    pub fn normalized(self) -> Self {
        Self {
            noise_free_steps: self.noise_free_steps.min(self.steps),
            ..self
        }
    }
}

/// Where a Langevin chain starts. With an encoder, a chain of no steps may be the whole inference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainStart {
    /// z_0 ~ N(0, I).
    #[default]
    StandardNormal,
    /// z_0 ~ q(z|x): `encoder.onnx`; its mean, for an image's first chain.
    Encoder,
}

/// The classes of the data set that the model was fitted on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// Fitted as normal.
    pub normal: Vec<String>,
    /// Kept out, as anomalies of the evaluation.
    pub held_out: Vec<String>,
}

/// Size and checksum of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Size in bytes.
    pub size_bytes: u64,
}
