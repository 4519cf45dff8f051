//! Mixtures of K Gaussians with a covariance each, as the base of a flow: one of z0, or independent ones of consecutive
//! parts of it, whose log-densities add up. Of each:
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

    /// The number d of dimensions.
    fn dim(&self) -> usize {
        self.means.shape.last().copied().unwrap_or(0)
    }

    fn validate(&self) -> Result<(), ModelError> {
        // A mixture of nothing has no density.
        let (k, d) = (self.components().max(1), self.dim().max(1));
        expect_shape("flow.base.log_weights", &self.log_weights, &[k])?;
        expect_shape("flow.base.means", &self.means, &[k, d])?;
        expect_shape("flow.base.whitening", &self.whitening, &[k, d, d])
    }

    /// All components' `whitening_k (z0 - mean_k)` as one affine map `z0 @ matrix + offset`: `[d, K d]` and `[K d]`.
    fn affine(&self) -> (Tensor, Tensor) {
        let d = self.dim();
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
    fn peaks(&self) -> Tensor {
        let d = self.dim();
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

    /// Its log-density, `[B, 1]`, of `z0`, `[B, d]`.
    fn log_density(&self, graph: &mut Graph, z0: &Value) -> Result<Value, ModelError> {
        self.validate()?;
        let (matrix, offset) = self.affine();
        let matrix = graph.weights("flow.base.matrix", matrix);
        let offset = graph.weights("flow.base.offset", offset);
        let peaks = graph.weights("flow.base.peaks", self.peaks());
        // No Gemm, which bfloat16 may replace: product and offset cancel where z0 is near a narrow component's mean.
        let white = graph.matmul(z0, &matrix)?;
        let white = graph.add(&white, &offset)?;
        let sizes = [-1, self.components() as i64, self.dim() as i64];
        let white = graph.reshape(&white, &sizes)?;
        let square = graph.reduce_sum_square(&white, &[2], false)?;
        let kernels = graph.scale(&square, -0.5)?;
        let joint = graph.add(&kernels, &peaks)?;
        // The sum of exponentials of what is left over the largest, which neither overflows nor is 0.
        let largest = graph.reduce_max(&joint, &[1], true)?;
        let relative = graph.sub(&joint, &largest)?;
        let relative = graph.exp(&relative)?;
        let sum = graph.reduce_sum(&relative, &[1], true)?;
        let log_sum = graph.log(&sum)?;
        Ok(graph.add(&largest, &log_sum)?)
    }
}

/// log p(z0), `[B]`, of `z0`, `[B, d]`: the sum of the log-densities of its consecutive parts, of which each has a mixture
/// of `base`.
pub(super) fn log_density(
    graph: &mut Graph,
    z0: &Value,
    d: usize,
    base: &[MixtureWeights],
) -> Result<Value, ModelError> {
    let dims: Vec<_> = base.iter().map(MixtureWeights::dim).collect();
    if dims.iter().sum::<usize>() != d {
        return Err(ModelError::Spec(format!(
            "the mixtures of the flow's base are of {dims:?} values, expected {d} in all"
        )));
    }
    let parts = match base {
        [_] => vec![z0.clone()],
        _ => graph.split(z0, 1, &dims)?,
    };
    let mut columns = Vec::with_capacity(base.len());
    for (part, mixture) in parts.iter().zip(base) {
        columns.push(mixture.log_density(graph, part)?);
    }
    let columns = match &columns[..] {
        [column] => column.clone(),
        _ => graph.concat(&columns.iter().collect::<Vec<_>>(), 1)?,
    };
    Ok(graph.reduce_sum(&columns, &[1], false)?)
}
