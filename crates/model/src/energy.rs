//! The energy-based prior (Pang et al. 2020, <https://arxiv.org/abs/2006.08205>):
//! log p(z) = -E(z) + log N(z; 0, I), up to a constant that nobody knows.

use std::f64::consts::PI;

use lfbm_onnx::{Dim, Graph, Value, gradient};

use crate::error::ModelError;
use crate::generator::LEAKY_SLOPE;
use crate::weights::{LayerWeights, expect_shape};

/// E: `d -> hidden -> hidden -> 1`, leaky ReLU between.
pub type EnergyWeights = [LayerWeights; 3];

/// `z` to `log_prob` = -E(z) + log N(z; 0, I), and to `z0`, which is z: there is no flow.
pub(super) fn density_graph(d: usize, weights: &EnergyWeights) -> Result<Graph, ModelError> {
    let mut graph = Graph::new("flow");
    let z = graph.input("z", &[Dim::Batch, Dim::Fixed(d)]);
    let log_prob = log_density(&mut graph, &z, d, weights)?;
    graph.output("z0", &z)?;
    graph.output("log_prob", &log_prob)?;
    graph.simplify();
    Ok(graph)
}

/// One Langevin step of the prior: `z`, `noise` (`[B,d]`) and `step_size` s (`[B]`) to
/// `z_next = z + s^2/2 grad_z log p(z) + s noise`.
pub(super) fn step_graph(d: usize, weights: &EnergyWeights) -> Result<Graph, ModelError> {
    let mut graph = Graph::new("prior");
    let latent = [Dim::Batch, Dim::Fixed(d)];
    let z = graph.input("z", &latent);
    let noise = graph.input("noise", &latent);
    let step_size = graph.input("step_size", &[Dim::Batch]);
    let log_prob = log_density(&mut graph, &z, d, weights)?;
    let slope = gradient(&mut graph, &log_prob, &z)?;
    let s = graph.unsqueeze(&step_size, &[1])?;
    let square = graph.mul(&s, &s)?;
    let half = graph.scale(&square, 0.5)?;
    let drift = graph.mul(&half, &slope)?;
    let moved = graph.add(&z, &drift)?;
    let diffusion = graph.mul(&s, &noise)?;
    let z_next = graph.add(&moved, &diffusion)?;
    graph.output("z_next", &z_next)?;
    graph.simplify();
    Ok(graph)
}

fn log_density(
    graph: &mut Graph,
    z: &Value,
    d: usize,
    weights: &EnergyWeights,
) -> Result<Value, ModelError> {
    validate(d, weights)?;
    let mut h = z.clone();
    for (index, layer) in weights.iter().enumerate() {
        let mut store = |part: &str, tensor: &lfbm_onnx::Tensor| {
            graph.weights(&format!("energy.{index}.{part}"), tensor.clone())
        };
        let weight = store("weight", &layer.weight);
        let bias = store("bias", &layer.bias);
        h = graph.linear(&h, &weight, &bias)?;
        if index + 1 < weights.len() {
            h = graph.leaky_relu(&h, LEAKY_SLOPE)?;
        }
    }
    // [B, 1] to [B].
    let energy = graph.reduce_sum(&h, &[1], false)?;
    let square = graph.reduce_sum_square(z, &[1], false)?;
    let exponent = graph.scale(&square, -0.5)?;
    let unscaled = graph.sub(&exponent, &energy)?;
    let constant = graph.scalar((-0.5 * d as f64 * (2.0 * PI).ln()) as f32);
    Ok(graph.add(&unscaled, &constant)?)
}

fn validate(d: usize, weights: &EnergyWeights) -> Result<(), ModelError> {
    let hidden = weights[0].weight.shape.first().copied().unwrap_or(0);
    let widths = [d, hidden, hidden, 1];
    for (index, layer) in weights.iter().enumerate() {
        let name = format!("energy.{index}");
        expect_shape(&name, &layer.weight, &[widths[index + 1], widths[index]])?;
        expect_shape(&name, &layer.bias, &[widths[index + 1]])?;
    }
    Ok(())
}
