//! The model: a flow prior on latents, a generator from latents to images, and the posterior that
//! Langevin inference walks on.
//!
//! Weights are trained through autograd ([`Flow::log_density`], [`Generator::forward`]); inference
//! runs on a [`Posterior`], the same model with its weights standing still.

pub mod density;
mod encoder;
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

use lfbm_bundle::model::{GeneratorSpec, ModelError};
use tch::{Device, Kind};

pub use encoder::Encoder;
pub use flow::{ActNorm, Coupling, Flow, FlowStep, FrozenFlow, LuLinear, Transform};
pub use frozen_generator::{FrozenGenerator, Generated};
pub use generator::Generator;
pub use iaf::IafStep;
pub use langevin::Langevin;
pub use posterior::{Observation, Posterior};

/// What a model is made of.
#[derive(Clone, Debug)]
pub struct Architecture {
    /// The generator and the shape of its images.
    pub generator: GeneratorSpec,
    /// Number of Glow steps in the flow.
    pub flow_steps: usize,
    /// Hidden units in each layer of a coupling's net.
    pub flow_hidden: usize,
    /// Standard deviation of the observation noise, in units of x.
    pub sigma: f64,
}

/// p(x, z) = p(z) p(x|z).
#[derive(Debug)]
pub struct Model {
    /// p(z).
    pub flow: Flow,
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
            flow_steps,
            flow_hidden,
            sigma,
        } = architecture;
        let latent = generator.latent_dim as i64;
        Ok(Self {
            generator: Generator::new(generator, device)?,
            flow: Flow::new(latent, *flow_steps, *flow_hidden as i64, device),
            sigma: *sigma,
        })
    }

    /// Converts all tensors to `kind`: double precision, for numerical checks.
    pub fn set_kind(&mut self, kind: Kind) {
        parameters::convert(&mut self.flow, kind);
        self.generator.set_kind(kind);
    }

    /// The posterior under the weights of this moment.
    pub fn freeze(&self) -> Posterior {
        let (flow, generator) = (self.flow.freeze(), self.generator.freeze());
        Posterior {
            flow,
            generator,
            sigma: self.sigma,
        }
    }
}
