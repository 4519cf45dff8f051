//! Architectures and their forward graphs: the one place that says what a generator or a prior
//! computes. The trainer builds its modules from the same [`Layer`]s.

mod encoder;
mod energy;
mod flow;
mod generator;
mod imported;
mod preprocess;

pub use encoder::{EncoderLayer, EncoderSpec, EncoderWeights, IafStepWeights, encoder_graph};
pub use energy::EnergyWeights;
pub use flow::FlowStepWeights;
pub use generator::{GeneratorName, GeneratorSpec, LEAKY_SLOPE, Layer};
pub use imported::{ModelFiles, imported_graphs};

use std::path::PathBuf;

use crate::manifest::{ImageSpec, PriorKind};
use crate::onnx::{Graph, GraphError};
use crate::tensor::Tensor;

/// Weights of one layer in torch's layout: `[out, in]` for a linear layer, `[in, out, k, k]` for
/// a transposed convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// The weight.
    pub weight: Tensor,
    /// The bias, `[out]`.
    pub bias: Tensor,
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

/// The graphs that run forwards; `posterior.onnx` is made from them.
#[derive(Clone, Debug)]
pub struct ForwardGraphs {
    /// `image: [B,C,H,W]` in [0, 1] to `x: [B,C,H,W]`.
    pub preprocess: Graph,
    /// `z: [B,d]` to `x: [B,C,H,W]`.
    pub generator: Graph,
    /// `z: [B,d]` to `z0: [B,d]` and `log_prob: [B]`; without a flow z0 is z.
    pub flow: Graph,
    /// `z0: [B,d]` to `z: [B,d]`; for an energy-based prior, which has no exact samples, one
    /// Langevin step, `z: [B,d]`, `noise: [B,d]` and `step_size: [B]` to `z_next: [B,d]`.
    /// Without it, exact samples cannot be drawn.
    pub prior: Option<Graph>,
    /// `x: [B,C,H,W]` and `noise: [B,d]` to `z: [B,d]`, where there is one: see
    /// [`encoder_graph`].
    pub encoder: Option<Graph>,
}

impl ForwardGraphs {
    /// Rounds the matrices and kernels of generator and encoder to values of half precision, in
    /// which a bundle then stores them. Flow and prior stay in single precision: the flow's log-det
    /// and inverse belong to its matrices as they are, and they are small.
    pub fn round_weights(&mut self) {
        self.generator.round_weights();
        if let Some(encoder) = &mut self.encoder {
            encoder.round_weights();
        }
    }
}

/// What is wrong with an architecture or its weights.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A setting is out of range.
    #[error("{0}")]
    Spec(String),
    /// The weights are not those of the architecture.
    #[error("weights of {layer}: expected {expected}, got {got}")]
    Weights {
        /// Which layer.
        layer: String,
        /// The shape that the architecture has.
        expected: String,
        /// The shape that came.
        got: String,
    },
    /// A file of an imported model is not what it is given for.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The graph could not be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Builds the graph that turns `image: [B,C,H,W]`, intensities in [0, 1], into `x: [B,C,H,W]`.
///
/// # Errors
/// When the image has a size of zero.
pub fn preprocess_graph(image: &ImageSpec) -> Result<Graph, ModelError> {
    preprocess::graph(image)
}

/// Builds the forward graphs of a model.
///
/// # Errors
/// When weights do not fit the architecture.
pub fn forward_graphs(
    image: &ImageSpec,
    generator: &GeneratorSpec,
    generator_weights: &[LayerWeights],
    prior: &PriorWeights,
) -> Result<ForwardGraphs, ModelError> {
    let d = generator.latent_dim;
    let (flow, prior) = match prior {
        PriorWeights::Flow(steps) => (
            flow::normalizing_graph(d, steps)?,
            flow::sampling_graph(d, steps)?,
        ),
        PriorWeights::Ebm(energy) => (
            energy::density_graph(d, energy)?,
            energy::step_graph(d, energy)?,
        ),
        // No step of a flow.
        PriorWeights::Gaussian => (
            flow::normalizing_graph(d, &[])?,
            flow::sampling_graph(d, &[])?,
        ),
    };
    Ok(ForwardGraphs {
        preprocess: preprocess_graph(image)?,
        generator: generator::graph(generator, generator_weights)?,
        flow,
        prior: Some(prior),
        encoder: None,
    })
}

fn expect_shape(layer: &str, tensor: &Tensor, expected: &[usize]) -> Result<(), ModelError> {
    if tensor.shape == expected {
        return Ok(());
    }
    Err(ModelError::Weights {
        layer: layer.to_owned(),
        expected: format!("{expected:?}"),
        got: format!("{:?}", tensor.shape),
    })
}
