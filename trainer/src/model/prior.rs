//! The prior p(z): a flow (LFBM), an energy (LEBM) or the standard Gaussian (ABP).

use lfbm_bundle::manifest::PriorSampling;
use lfbm_model::PriorWeights;
use tch::{Device, Kind, Tensor};

use super::density::log_standard_normal;
use super::parameters::{Parameters, Role};
use super::{Energy, Flow, FrozenEnergy, FrozenFlow};

/// The architecture of a prior.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PriorSpec {
    /// A flow.
    Flow {
        /// Number of Glow steps.
        steps: usize,
        /// Hidden units in each layer of a coupling's net.
        hidden: usize,
    },
    /// An energy times the standard Gaussian.
    Ebm {
        /// Hidden units in each layer of the energy's net.
        hidden: usize,
        /// How it is sampled.
        sampling: PriorSampling,
    },
    /// The standard Gaussian.
    Gaussian,
}

impl PriorSpec {
    /// How an energy is sampled; `None` for priors that are sampled exactly.
    pub fn sampling(&self) -> Option<PriorSampling> {
        match self {
            Self::Ebm { sampling, .. } => Some(*sampling),
            Self::Flow { .. } | Self::Gaussian => None,
        }
    }
}

/// p(z), learned through autograd.
#[derive(Debug)]
pub enum Prior {
    /// A flow.
    Flow(Flow),
    /// An energy; its density lacks a constant.
    Ebm(Energy),
    /// The standard Gaussian, which has no weights.
    Gaussian,
}

impl Prior {
    /// A prior of latents of `dim` coordinates, drawn from torch's generator.
    pub fn new(spec: &PriorSpec, dim: i64, device: Device) -> Self {
        match *spec {
            PriorSpec::Flow { steps, hidden } => {
                Self::Flow(Flow::new(dim, steps, hidden as i64, device))
            }
            PriorSpec::Ebm { hidden, sampling } => {
                Self::Ebm(Energy::new(dim, hidden as i64, sampling, device))
            }
            PriorSpec::Gaussian => Self::Gaussian,
        }
    }

    /// log p(z), of shape (rows).
    pub fn log_density(&self, z: &Tensor) -> Tensor {
        match self {
            Self::Flow(flow) => flow.log_density(z),
            Self::Ebm(energy) => energy.log_density(z),
            Self::Gaussian => log_standard_normal(z),
        }
    }

    /// The loss of the prior on latents of the posterior, of shape (): the mean of -log p(z), or for an
    /// energy [`Energy::contrast`], which has the same gradient.
    pub fn loss(&self, z: &Tensor) -> Tensor {
        match self {
            Self::Ebm(energy) => energy.contrast(z),
            Self::Flow(_) | Self::Gaussian => self.log_density(z).mean(None).neg(),
        }
    }

    /// A copy with fixed weights.
    pub fn freeze(&self) -> FrozenPrior {
        match self {
            Self::Flow(flow) => FrozenPrior::Flow(flow.freeze()),
            Self::Ebm(energy) => FrozenPrior::Ebm(energy.freeze()),
            Self::Gaussian => FrozenPrior::Gaussian,
        }
    }

    /// Converts all tensors to `kind`: double precision, for numerical checks.
    pub fn set_kind(&mut self, kind: Kind) {
        match self {
            Self::Flow(flow) => flow.set_kind(kind),
            Self::Ebm(energy) => energy.set_kind(kind),
            Self::Gaussian => {}
        }
    }

    /// The weights in the layout of the bundle.
    pub fn weights(&self) -> PriorWeights {
        match self {
            Self::Flow(flow) => PriorWeights::Flow(flow.weights()),
            Self::Ebm(energy) => PriorWeights::Ebm(Box::new(energy.weights())),
            Self::Gaussian => PriorWeights::Gaussian,
        }
    }
}

impl Parameters for Prior {
    fn visit(&mut self, visitor: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        match self {
            Self::Flow(flow) => flow.visit(visitor),
            Self::Ebm(energy) => energy.visit(visitor),
            Self::Gaussian => {}
        }
    }
}

/// p(z) with fixed weights. Made by [`Prior::freeze`].
#[derive(Debug)]
pub enum FrozenPrior {
    /// A flow.
    Flow(FrozenFlow),
    /// An energy.
    Ebm(FrozenEnergy),
    /// The standard Gaussian.
    Gaussian,
}

impl FrozenPrior {
    /// log p(z), of shape (rows).
    pub fn log_density(&self, z: &Tensor) -> Tensor {
        match self {
            Self::Flow(flow) => flow.log_density(z),
            Self::Ebm(energy) => energy.log_density(z),
            Self::Gaussian => log_standard_normal(z),
        }
    }

    /// d log p(z) / dz, of shape (rows, dim).
    pub fn gradient(&self, z: &Tensor) -> Tensor {
        match self {
            Self::Flow(flow) => flow.gradient(z),
            Self::Ebm(energy) => energy.gradient(z),
            Self::Gaussian => z.neg(),
        }
    }
}
