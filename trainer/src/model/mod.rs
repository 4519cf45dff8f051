//! The model: a prior on latents, a generator from latents to images, and the posterior that
//! Langevin inference samples.
//!
//! Weights are trained through autograd ([`Prior::log_density`], [`Generator::forward`]); inference
//! runs on a [`Posterior`], the same model with fixed weights.

pub mod density;
mod encoder;
mod energy;
mod flow;
mod frozen_generator;
mod generator;
pub mod host;
mod iaf;
mod init;
mod langevin;
mod linear;
mod operator;
pub mod parameters;
mod posterior;
mod prior;

use lfbm_model::{GeneratorSpec, ModelError};
use tch::{Device, Kind};

pub use encoder::Encoder;
pub use energy::{Energy, FrozenEnergy};
pub use flow::{ActNorm, Coupling, Flow, FlowStep, FrozenFlow, LuLinear, Mixture, Transform};
pub use frozen_generator::{FrozenGenerator, Generated};
pub use generator::Generator;
pub use iaf::IafStep;
pub use langevin::Langevin;
pub use posterior::{Likelihood, Observation, Posterior};
pub use prior::{FrozenPrior, Prior, PriorSpec};

/// The architecture of a model.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// The generator and the shape of its images.
    pub generator: GeneratorSpec,
    /// The prior.
    pub prior: PriorSpec,
    /// Standard deviation of the observation noise, in units of x.
    pub sigma: f64,
}

/// p(x, z) = p(z) p(x|z).
#[derive(Debug)]
pub struct Model {
    /// p(z).
    pub prior: Prior,
    /// The mean of p(x|z).
    pub generator: Generator,
    /// The standard deviation of p(x|z), in units of x.
    pub sigma: f64,
}

impl Model {
    /// A model with random weights, drawn from torch's generator.
    pub fn new(architecture: &Architecture, device: Device) -> Result<Self, ModelError> {
        let Architecture {
            generator,
            prior,
            sigma,
        } = architecture;
        let latent = generator.latent_dim as i64;
        Ok(Self {
            generator: Generator::new(generator, device)?,
            prior: Prior::new(prior, latent, device),
            sigma: *sigma,
        })
    }

    /// Converts all tensors to `kind`: double precision, for numerical checks.
    pub fn set_kind(&mut self, kind: Kind) {
        self.prior.set_kind(kind);
        self.generator.set_kind(kind);
    }

    /// The posterior with the present weights.
    pub fn freeze(&self) -> Posterior {
        Posterior {
            prior: self.prior.freeze(),
            likelihood: self.freeze_likelihood(),
        }
    }

    /// The likelihood with the present weights.
    pub fn freeze_likelihood(&self) -> Likelihood {
        Likelihood {
            generator: self.generator.freeze(),
            sigma: self.sigma,
        }
    }
}
