//! Where the latents of a batch come from while learning.

use lfbm_bundle::model::{EncoderSpec, EncoderWeights, ModelError};
use tch::{Device, Tensor};

use super::network::Network;
use crate::model::{Encoder, Langevin, Model, Observation};

/// How latents are inferred while learning.
#[derive(Clone, Debug, PartialEq)]
pub enum InferenceSpec {
    /// By short-run Langevin dynamics: Algorithm 1 of the paper.
    Langevin(Langevin),
    /// By an encoder that is learned with the model: LFBM-VAE.
    Vae(VaeSpec),
}

/// An encoder, and how it is improved.
#[derive(Clone, Debug, PartialEq)]
pub struct VaeSpec {
    /// The encoder.
    pub encoder: EncoderSpec,
    /// Adam's learning rate for it, at the start.
    pub learning_rate: f64,
    /// Longer gradients of its loss are cut to this length.
    pub max_gradient_norm: f64,
    /// Updates of prior and encoder to one of the generator.
    pub updates: u64,
}

/// An [`InferenceSpec`] at work.
#[derive(Debug)]
pub(super) enum Inference {
    Langevin(Langevin),
    Vae(Box<Vae>),
}

#[derive(Debug)]
pub(super) struct Vae {
    pub(super) encoder: Encoder,
    pub(super) network: Network,
    pub(super) learning_rate: f64,
    updates: u64,
}

impl Inference {
    /// An encoder is drawn from torch's generator of random numbers.
    pub(super) fn new(
        spec: &InferenceSpec,
        average_decay: f64,
        device: Device,
    ) -> Result<Self, ModelError> {
        Ok(match spec {
            InferenceSpec::Langevin(langevin) => Self::Langevin(*langevin),
            InferenceSpec::Vae(vae) => {
                let mut encoder = Encoder::new(&vae.encoder, device)?;
                let network = Network::new(&mut encoder, vae.max_gradient_norm, average_decay);
                Self::Vae(Box::new(Vae {
                    encoder,
                    network,
                    learning_rate: vae.learning_rate,
                    updates: vae.updates,
                }))
            }
        })
    }

    /// Updates of prior and encoder to one of the generator.
    pub(super) fn updates(&self) -> u64 {
        match self {
            Self::Langevin(_) => 1,
            Self::Vae(vae) => vae.updates,
        }
    }

    /// Latents of what is seen, of shape (rows, latent), and log q(z|x), of shape (rows), where
    /// they are samples of an encoder. Autograd follows an encoder.
    pub(super) fn infer(
        &self,
        model: &Model,
        seen: &Observation,
        latent: i64,
    ) -> (Tensor, Option<Tensor>) {
        let rows = seen.x.size()[0];
        match self {
            Self::Langevin(langevin) => {
                let noise = langevin.draw_noise(rows, latent, &seen.x);
                (langevin.run(&model.freeze(), seen, &noise), None)
            }
            Self::Vae(vae) => {
                let noise = Tensor::randn([rows, latent], (seen.x.kind(), seen.x.device()));
                let (z, log_density) = vae.encoder.sample(seen, &noise);
                (z, Some(log_density))
            }
        }
    }

    pub(super) fn encoder_weights(&self) -> Option<EncoderWeights> {
        match self {
            Self::Langevin(_) => None,
            Self::Vae(vae) => Some(vae.encoder.weights()),
        }
    }
}
