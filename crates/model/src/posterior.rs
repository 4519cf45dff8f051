//! The graph of one Langevin step, made from the forward graphs by differentiation.

use std::f64::consts::PI;

use lfbm_onnx::{Dim, Graph, GraphError, gradient, pullback};

/// Builds `posterior.onnx` (all inputs and outputs `f32`, `B` rows that do not influence each
/// other):
///
/// | input | shape | |
/// |---|---|---|
/// | `z` | B,d | the chains' present latents |
/// | `x` | B,C,H,W | preprocessed images; of sites, D,1,1 |
/// | `mask` | B,1,H,W | 1 = visible pixel, 0 = hidden |
/// | `noise` | B,d | standard normal |
/// | `step_size` | B | s |
/// | `noise_scale` | B | 1, or 0 for a step without noise |
///
/// | output | shape | |
/// |---|---|---|
/// | `z_next` | B,d | `z + s^2/2 grad_z log p(x,z) + noise_scale s noise` |
/// | `log_prior` | B | log p(z) at the input z |
/// | `log_likelihood` | B | `-\|m (x - g(z))\|^2 / (2 sigma^2) - D log(sigma sqrt(2 pi))`, D the visible values |
/// | `reconstruction` | B,C,H,W | g(z) |
///
/// `x` is C, H, W. `generator` maps `z` to one output, `flow` maps `z` to `z0` and `log_prob`.
///
/// # Errors
/// When the graphs do not fit x, or use an operator without a differentiation rule.
pub fn posterior_graph(
    generator: &Graph,
    flow: &Graph,
    x: [usize; 3],
    latent_dim: usize,
    sigma: f32,
) -> Result<Graph, GraphError> {
    let mut graph = Graph::new("posterior");
    let channels = x[0];
    let [c, h, w] = x.map(Dim::Fixed);
    let z = graph.input("z", &[Dim::Batch, Dim::Fixed(latent_dim)]);
    let x = graph.input("x", &[Dim::Batch, c, h, w]);
    let mask = graph.input("mask", &[Dim::Batch, Dim::Fixed(1), h, w]);
    let noise = graph.input("noise", &[Dim::Batch, Dim::Fixed(latent_dim)]);
    let step_size = graph.input("step_size", &[Dim::Batch]);
    let noise_scale = graph.input("noise_scale", &[Dim::Batch]);

    let missing = |name: &str| GraphError::UnknownValue(name.to_owned());
    let images = graph.inline(generator, &[("z", &z)])?;
    let reconstruction = images.first().ok_or_else(|| missing("x"))?;
    let densities = graph.inline(flow, &[("z", &z)])?;
    let log_prior = densities.get(1).ok_or_else(|| missing("log_prob"))?;

    let sigma = f64::from(sigma);
    let residual = graph.sub(reconstruction, &x)?;
    let visible = graph.mul(&residual, &mask)?;
    let precision = (1.0 / (sigma * sigma)) as f32;
    let square = graph.mul(&visible, &visible)?;
    let error = graph.reduce_sum(&square, &[1, 2, 3], false)?;
    let exponent = graph.scale(&error, -0.5 * precision)?;
    let positions = graph.reduce_sum(&mask, &[1, 2, 3], false)?;
    let per_position = channels as f64 * (sigma * (2.0 * PI).sqrt()).ln();
    let normalizer = graph.scale(&positions, per_position as f32)?;
    let log_likelihood = graph.sub(&exponent, &normalizer)?;

    // grad_z log p(x|z) = J_g(z)^T m (x - g(z)) / sigma^2, since m is 0 or 1. The factor comes last,
    // where there are d values a row to multiply and not C H W.
    let error_slope = pullback(&mut graph, reconstruction, &visible, &z)?;
    let likelihood_slope = graph.scale(&error_slope, -precision)?;
    let prior_slope = gradient(&mut graph, log_prior, &z)?;
    let slope = graph.add(&prior_slope, &likelihood_slope)?;
    let s = graph.unsqueeze(&step_size, &[1])?;
    let square = graph.mul(&s, &s)?;
    let half = graph.scale(&square, 0.5)?;
    let drift = graph.mul(&half, &slope)?;
    let scale = graph.unsqueeze(&noise_scale, &[1])?;
    let deviation = graph.mul(&s, &scale)?;
    let diffusion = graph.mul(&deviation, &noise)?;
    let moved = graph.add(&z, &drift)?;
    let z_next = graph.add(&moved, &diffusion)?;

    graph.output("z_next", &z_next)?;
    graph.output("log_prior", log_prior)?;
    graph.output("log_likelihood", &log_likelihood)?;
    graph.output("reconstruction", reconstruction)?;
    graph.simplify();
    graph.fuse_products();
    Ok(graph)
}
