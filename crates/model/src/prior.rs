//! The prior on latents.

use serde::{Deserialize, Serialize};

use crate::energy::EnergyWeights;
use crate::flow::FlowStepWeights;

/// Kinds of prior on the latent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriorKind {
    /// A normalising flow; its density is normalised.
    Flow,
    /// An energy-based model; its density is not normalised.
    Ebm,
    /// The standard Gaussian.
    Gaussian,
}

impl PriorKind {
    /// Whether log p(z) is a density. One that is not lacks a constant: scores of one model compare
    /// with each other, and with those of no other model.
    pub fn is_normalized(self) -> bool {
        match self {
            Self::Flow | Self::Gaussian => true,
            Self::Ebm => false,
        }
    }
}

/// Weights of the prior on latents.
#[derive(Clone, Debug, PartialEq)]
pub enum PriorWeights {
    /// The steps of a flow, first step first.
    Flow(Vec<FlowStepWeights>),
    /// An energy.
    Ebm(Box<EnergyWeights>),
    /// The standard Gaussian has none.
    Gaussian,
}

impl PriorWeights {
    /// What they are the weights of.
    pub fn kind(&self) -> PriorKind {
        match self {
            Self::Flow(_) => PriorKind::Flow,
            Self::Ebm(_) => PriorKind::Ebm,
            Self::Gaussian => PriorKind::Gaussian,
        }
    }
}
