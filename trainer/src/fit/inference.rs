//! Where the latents of a batch come from while learning.

use lfbm_model::{EncoderSpec, ModelError};
use tch::{Device, Tensor};

use super::chains::{self, ChainPrecision};
use super::learner::Learning;
use super::network::Network;
use crate::model::{Encoder, Langevin, Model, Observation};

/// How latents are inferred while learning.
#[derive(Clone, Debug, PartialEq)]
pub enum InferenceSpec {
    /// By short-run Langevin dynamics: Algorithm 1 of the paper. The optional encoder is fitted to the
    /// ends of the chains by maximum likelihood; the chains do not use it.
    Langevin {
        /// The chains.
        langevin: Langevin,
        /// What the generator computes in, in them.
        precision: ChainPrecision,
        /// The encoder.
        encoder: Option<EncoderLearning>,
    },
    /// By an encoder that is learned with the model: LFBM-VAE.
    Vae {
        /// The encoder.
        encoder: EncoderLearning,
        /// Updates of prior and encoder per update of the generator.
        updates: u64,
    },
}

impl InferenceSpec {
    /// The step size of chains; 0 where there are none.
    pub(super) fn step_size(&self) -> f64 {
        match self {
            Self::Langevin { langevin, .. } => langevin.step_size,
            Self::Vae { .. } => 0.0,
        }
    }
}

/// An encoder, and how it is optimised.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderLearning {
    /// The encoder.
    pub spec: EncoderSpec,
    /// Adam's learning rate for it, at the start.
    pub learning_rate: f64,
    /// Gradients of its loss are clipped to this norm.
    pub max_gradient_norm: f64,
}

/// Inference by an [`InferenceSpec`].
#[derive(Debug)]
pub(super) enum Inference {
    Langevin(Langevin, ChainPrecision, Option<Box<EncoderLearner>>),
    Vae(Box<EncoderLearner>, u64),
}

#[derive(Debug)]
pub(super) struct EncoderLearner {
    pub(super) encoder: Encoder,
    pub(super) network: Network,
    pub(super) learning_rate: f64,
}

impl EncoderLearner {
    fn new(
        encoder_learning: &EncoderLearning,
        learning: &Learning,
        device: Device,
    ) -> Result<Box<Self>, ModelError> {
        let mut encoder = Encoder::new(&encoder_learning.spec, device)?;
        Ok(Box::new(Self {
            network: Network::new(&mut encoder, encoder_learning.max_gradient_norm, learning),
            encoder,
            learning_rate: encoder_learning.learning_rate,
        }))
    }
}

impl Inference {
    /// The weights of an encoder are drawn from torch's random number generator.
    pub(super) fn new(
        spec: &InferenceSpec,
        learning: &Learning,
        device: Device,
    ) -> Result<Self, ModelError> {
        let learner = |encoder| EncoderLearner::new(encoder, learning, device);
        Ok(match spec {
            InferenceSpec::Langevin {
                langevin,
                precision,
                encoder,
            } => {
                let encoder = encoder.as_ref().map(learner).transpose()?;
                Self::Langevin(*langevin, *precision, encoder)
            }
            InferenceSpec::Vae { encoder, updates } => Self::Vae(learner(encoder)?, *updates),
        })
    }

    /// Updates of prior and encoder per update of the generator.
    pub(super) fn updates(&self) -> u64 {
        match self {
            Self::Langevin(..) => 1,
            Self::Vae(_, updates) => *updates,
        }
    }

    pub(super) fn langevin(&self) -> Option<&Langevin> {
        match self {
            Self::Langevin(langevin, ..) => Some(langevin),
            Self::Vae(..) => None,
        }
    }

    pub(super) fn langevin_mut(&mut self) -> Option<&mut Langevin> {
        match self {
            Self::Langevin(langevin, ..) => Some(langevin),
            Self::Vae(..) => None,
        }
    }

    pub(super) fn encoder(&self) -> Option<&EncoderLearner> {
        match self {
            Self::Langevin(.., encoder) => encoder.as_deref(),
            Self::Vae(encoder, _) => Some(encoder),
        }
    }

    pub(super) fn encoder_mut(&mut self) -> Option<&mut EncoderLearner> {
        match self {
            Self::Langevin(.., encoder) => encoder.as_deref_mut(),
            Self::Vae(encoder, _) => Some(encoder),
        }
    }

    /// Latents of the observation, of shape (rows, latent), and log q(z|x), of shape (rows), if they
    /// are samples of an encoder. Differentiable in an encoder's weights.
    pub(super) fn infer(
        &self,
        model: &Model,
        seen: &Observation,
        latent: i64,
    ) -> (Tensor, Option<Tensor>) {
        let rows = seen.x.size()[0];
        match self {
            Self::Langevin(langevin, precision, encoder) => {
                let noise = langevin.draw_noise(rows, latent, &seen.x);
                if let (true, Some(learner)) = (langevin.from_encoder, encoder) {
                    let _guard = tch::no_grad_guard();
                    let mut start = noise.get(0);
                    let (z, _) = learner.encoder.sample(seen, &start);
                    start.copy_(&z);
                }
                (chains::run(langevin, *precision, model, seen, &noise), None)
            }
            Self::Vae(learner, _) => {
                let noise = Tensor::randn([rows, latent], (seen.x.kind(), seen.x.device()));
                let (z, log_density) = learner.encoder.sample(seen, &noise);
                (z, Some(log_density))
            }
        }
    }
}
