//! The prior on latents.

use lfbm_onnx::{Dim, Graph, GraphError, gradient};
use serde::{Deserialize, Serialize};

use crate::energy::{self, EnergyWeights};
use crate::error::ModelError;
use crate::flow::{self, FlowWeights};

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
    /// A flow.
    Flow(FlowWeights),
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

/// Builds the graph from `z: [B,d]` to `z0: [B,d]` and `log_prob: [B]`.
///
/// # Errors
/// When weights are not those of latents of size `d`.
pub fn density_graph(d: usize, prior: &PriorWeights) -> Result<Graph, ModelError> {
    match prior {
        PriorWeights::Flow(flow) => flow::normalizing_graph(d, flow),
        PriorWeights::Ebm(energy) => energy::density_graph(d, energy),
        // No step of a flow.
        PriorWeights::Gaussian => flow::normalizing_graph(d, &FlowWeights::default()),
    }
}

/// Builds the graph from `z: [B,d]` to `gradient: [B,d]`, the gradient of log p(z) in z.
///
/// # Errors
/// When weights are not those of latents of size `d`.
pub fn prior_gradient_graph(d: usize, prior: &PriorWeights) -> Result<Graph, ModelError> {
    let mut graph = Graph::new("prior_gradient");
    let z = graph.input("z", &[Dim::Batch, Dim::Fixed(d)]);
    let densities = graph.inline(&density_graph(d, prior)?, &[("z", &z)])?;
    let missing = || GraphError::UnknownValue("log_prob".to_owned());
    let log_prob = densities.get(1).ok_or_else(missing)?;
    let slope = gradient(&mut graph, log_prob, &z)?;
    graph.output("gradient", &slope)?;
    graph.simplify();
    graph.fuse_products();
    Ok(graph)
}
