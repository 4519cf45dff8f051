//! Checks that an imported flow's density is right.

use anyhow::ensure;
use lfbm_onnx::Graph;
use lfbm_onnx::Tensor as HostTensor;
use lfbm_runtime::{Runtime, RuntimeError, evaluate};
use tch::{Kind, Tensor};

use super::points;
use crate::model::density::log_standard_normal;

/// Half the step of a finite difference; a smaller one leaves too few digits in single precision.
const STEP: f32 = 1e-2;
/// The tolerance of log|det| from finite differences, per dimension of the latent: far below 0.92, which
/// is a missing log(2 pi) / 2.
const TOLERANCE_NATS_PER_DIM: f64 = 0.1;
/// The tolerance of a latent after flow and inverse, in standard deviations.
const TOLERANCE_INVERSE: f64 = 1e-2;

/// Checks that `log_prob = log N(z0; 0, I) + log|det dz0/dz|`, with the determinant of numerical
/// derivatives.
///
/// # Errors
/// When it is not, with both numbers, or the graph does not run.
pub fn check_flow(runtime: &Runtime, flow: &Graph, latent_dim: usize) -> anyhow::Result<()> {
    let d = latent_dim as i64;
    for z in points(latent_dim).data.chunks(latent_dim) {
        // The point, then the point moved forwards and backwards along each axis.
        let mut rows = z.to_vec();
        for axis in 0..latent_dim {
            for step in [STEP, -STEP] {
                let first = rows.len();
                rows.extend_from_slice(z);
                rows[first + axis] += step;
            }
        }
        let [z0, log_prob] = &outputs::<2>(runtime, flow, rows, latent_dim)?;
        let moved = z0.narrow(0, 1, 2 * d).view([d, 2, d]);
        let slopes = (moved.select(1, 0) - moved.select(1, 1)) / f64::from(2.0 * STEP);
        let (_, log_abs_det) = slopes.slogdet();
        let normal = log_standard_normal(&z0.narrow(0, 0, 1)).double_value(&[0]);
        let expected = normal + log_abs_det.double_value(&[]);
        let got = log_prob.double_value(&[0]);
        ensure!(
            (got - expected).abs() <= TOLERANCE_NATS_PER_DIM * latent_dim as f64,
            "its log_prob is {got:.3} where log N(z0; 0, I) + log|det dz0/dz| is {expected:.3} \
             (log N {normal:.3}); it must be the whole log-density of z"
        );
    }
    Ok(())
}

/// Checks that `flow` inverts `prior`.
///
/// # Errors
/// When it does not, or a graph does not run.
pub fn check_inverse(
    runtime: &Runtime,
    flow: &Graph,
    prior: &Graph,
    latent_dim: usize,
) -> anyhow::Result<()> {
    let points = points(latent_dim).data;
    let [z] = outputs::<1>(runtime, prior, points.clone(), latent_dim)?;
    let z: Vec<f32> = Vec::try_from(z.to_kind(Kind::Float).view([-1]))?;
    let [z0, _] = outputs::<2>(runtime, flow, z, latent_dim)?;
    let error = (z0 - Tensor::from_slice(&points).view([-1, latent_dim as i64])).abs();
    let error = error.max().double_value(&[]);
    ensure!(
        error <= TOLERANCE_INVERSE,
        "it is not the inverse of the flow: z0 comes back {error:.3} away from where it was"
    );
    Ok(())
}

/// The graph's outputs at rows of latents, in double precision.
fn outputs<const N: usize>(
    runtime: &Runtime,
    graph: &Graph,
    rows: Vec<f32>,
    latent_dim: usize,
) -> Result<[Tensor; N], RuntimeError> {
    let input = HostTensor::new([rows.len() / latent_dim, latent_dim], rows);
    let outputs = evaluate(runtime, graph, &[input])?;
    let tensors: Vec<Tensor> = outputs
        .iter()
        .map(|output| {
            let shape: Vec<i64> = output.shape.iter().map(|&size| size as i64).collect();
            Tensor::from_slice(&output.data)
                .view(shape.as_slice())
                .to_kind(Kind::Double)
        })
        .collect();
    let count = tensors.len();
    tensors.try_into().map_err(|_| RuntimeError::Graph {
        graph: graph.name().to_owned(),
        reason: format!("it has {count} outputs, expected {N}"),
    })
}
