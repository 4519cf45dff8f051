//! The graphs that run forwards.

use lfbm_onnx::Graph;

use crate::error::ModelError;
use crate::flow::FlowWeights;
use crate::generator::{self, GeneratorSpec};
use crate::prior::{self, PriorWeights};
use crate::weights::LayerWeights;
use crate::{energy, flow};

/// The graphs that run forwards; `posterior.onnx` is made from them.
#[derive(Clone, Debug)]
pub struct ForwardGraphs {
    /// `image: [B,C,H,W]` in [0, 1] to `x: [B,C,H,W]`; where images have sites, to `x: [B,S,D]`.
    pub preprocess: Graph,
    /// `z: [B,d]` to `x: [B,C,H,W]`, where a site's x is `[D,1,1]`.
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
    /// and inverse belong to its matrices as they are, and a mixture's products and offsets cancel.
    pub fn round_weights(&mut self) {
        self.generator.round_weights();
        if let Some(encoder) = &mut self.encoder {
            encoder.round_weights();
        }
    }
}

/// Builds the forward graphs of a model whose x is made by `preprocess`.
///
/// # Errors
/// When weights do not fit the architecture.
pub fn forward_graphs(
    preprocess: Graph,
    generator: &GeneratorSpec,
    generator_weights: &[LayerWeights],
    prior: &PriorWeights,
) -> Result<ForwardGraphs, ModelError> {
    let d = generator.latent_dim;
    let sampling = match prior {
        PriorWeights::Flow(FlowWeights { steps, base }) if base.is_empty() => {
            Some(flow::sampling_graph(d, steps)?)
        }
        // z0 ~ N(0, I) are no samples of another base.
        PriorWeights::Flow(_) => None,
        PriorWeights::Ebm(energy) => Some(energy::step_graph(d, energy)?),
        PriorWeights::Gaussian => Some(flow::sampling_graph(d, &[])?),
    };
    Ok(ForwardGraphs {
        preprocess,
        generator: generator::graph(generator, generator_weights)?,
        flow: prior::density_graph(d, prior)?,
        prior: sampling,
        encoder: None,
    })
}
