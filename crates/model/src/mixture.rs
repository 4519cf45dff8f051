//! A mixture of K Gaussians with a covariance each, as the base of a flow:
//!
//! ```text
//! log p(z0) = log sum_k weight_k N(z0; mean_k, covariance_k)
//! whitening_k = the inverse of the lower Cholesky factor of covariance_k
//! log N(z0; mean_k, covariance_k) = -|whitening_k (z0 - mean_k)|^2 / 2 + log det whitening_k - d log(2 pi) / 2
//! ```

use std::f64::consts::PI;

use lfbm_onnx::{Graph, Tensor, Value};

use crate::error::ModelError;
use crate::weights::expect_shape;

/// Weights of a mixture of K Gaussians in d dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct MixtureWeights {
    /// Logarithms of the weights, `[K]`; the weights add up to 1.
    pub log_weights: Tensor,
    /// `[K, d]`.
    pub means: Tensor,
    /// `[K, d, d]`, lower triangular with a positive diagonal.
    pub whitening: Tensor,
}

impl MixtureWeights {
    fn components(&self) -> usize {
        self.log_weights.data.len()
    }

    fn validate(&self, d: usize) -> Result<(), ModelError> {
        // A mixture of nothing has no density.
        let k = self.components().max(1);
        expect_shape("flow.base.log_weights", &self.log_weights, &[k])?;
        expect_shape("flow.base.means", &self.means, &[k, d])?;
        expect_shape("flow.base.whitening", &self.whitening, &[k, d, d])
    }

    /// All components' `whitening_k (z0 - mean_k)` as one affine map `z0 @ matrix + offset`: `[d, K d]` and `[K d]`.
    fn affine(&self, d: usize) -> (Tensor, Tensor) {
        let columns = self.components() * d;
        let mut matrix = vec![0.0; d * columns];
        let mut offset = vec![0.0; columns];
        let means = self.means.data.chunks(d);
        for (k, (rows, mean)) in self.whitening.data.chunks(d * d).zip(means).enumerate() {
            for (row, values) in rows.chunks(d).enumerate() {
                let column = k * d + row;
                let mut product = 0.0;
                for (index, (&value, &mean)) in values.iter().zip(mean).enumerate() {
                    matrix[index * columns + column] = value;
                    product += f64::from(value) * f64::from(mean);
                }
                offset[column] = -product as f32;
            }
        }
        let matrix = Tensor::new([d, columns], matrix);
        (matrix, Tensor::new([columns], offset))
    }

    /// The logarithm of each component's weight and of its density at its mean, `[K]`.
    fn peaks(&self, d: usize) -> Tensor {
        let constant = -0.5 * d as f64 * (2.0 * PI).ln();
        let whitening = self.whitening.data.chunks(d * d);
        let peak = |(&log_weight, rows): (&f32, &[f32])| {
            let diagonal = rows.iter().step_by(d + 1);
            let log_det: f64 = diagonal.map(|value| f64::from(*value).ln()).sum();
            (f64::from(log_weight) + log_det + constant) as f32
        };
        let peaks = self.log_weights.data.iter().zip(whitening).map(peak);
        Tensor::new([self.components()], peaks.collect())
    }
}

/// log p(z0), `[B]`, of `z0`, `[B, d]`.
pub(super) fn log_density(
    graph: &mut Graph,
    z0: &Value,
    d: usize,
    weights: &MixtureWeights,
) -> Result<Value, ModelError> {
    weights.validate(d)?;
    let (matrix, offset) = weights.affine(d);
    let matrix = graph.weights("flow.base.matrix", matrix);
    let offset = graph.weights("flow.base.offset", offset);
    let peaks = graph.weights("flow.base.peaks", weights.peaks(d));
    // No Gemm, which bfloat16 may replace: product and offset cancel where z0 is near a narrow component's mean.
    let white = graph.matmul(z0, &matrix)?;
    let white = graph.add(&white, &offset)?;
    let white = graph.reshape(&white, &[-1, weights.components() as i64, d as i64])?;
    let square = graph.reduce_sum_square(&white, &[2], false)?;
    let kernels = graph.scale(&square, -0.5)?;
    let joint = graph.add(&kernels, &peaks)?;
    // The sum of exponentials of what is left over the largest, which neither overflows nor is 0.
    let largest = graph.reduce_max(&joint, &[1], true)?;
    let relative = graph.sub(&joint, &largest)?;
    let relative = graph.exp(&relative)?;
    let sum = graph.reduce_sum(&relative, &[1], true)?;
    let log_sum = graph.log(&sum)?;
    let log_density = graph.add(&largest, &log_sum)?;
    Ok(graph.reduce_sum(&log_density, &[1], false)?)
}
