//! The flow prior, in both directions (Glow: Kingma and Dhariwal, NeurIPS 2018, on vectors).
//!
//! One step in the normalising direction, with row vectors and `half = d / 2`:
//!
//! ```text
//! y = (z + bias) * exp(log_scale)                     actnorm
//! h = y @ matrix                                      invertible linear map
//! (shift, raw) = coupling(h[..half]);  log_s = tanh(raw)
//! out = (h[..half], (h[half..] + shift) * exp(log_s)) affine coupling
//! log|det| = sum(log_scale) + log|det matrix| + sum(log_s)
//! ```
//!
//! What the steps make of a latent is z0, whose density is the base: N(0, I), or [mixtures](crate::mixture).

use std::f64::consts::PI;

use lfbm_onnx::{Dim, Gemm, Graph, Op, Tensor, Value};

use crate::error::ModelError;
use crate::mixture::{self, MixtureWeights};
use crate::weights::{LayerWeights, expect_shape};

/// Weights of a flow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowWeights {
    /// Its steps, first step first.
    pub steps: Vec<FlowStepWeights>,
    /// The density of z0: independent mixtures of its consecutive parts; none for N(0, I).
    pub base: Vec<MixtureWeights>,
}

/// Weights of one flow step on latents of size d.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowStepWeights {
    /// Actnorm's bias, d values.
    pub bias: Vec<f32>,
    /// Logarithm of actnorm's scale, d values.
    pub log_scale: Vec<f32>,
    /// The linear map, `[d, d]`, applied as `y @ matrix`.
    pub matrix: Tensor,
    /// Its inverse.
    pub inverse: Tensor,
    /// Logarithm of its determinant's absolute value.
    pub log_abs_det: f32,
    /// The coupling network `half -> hidden -> hidden -> 2 (d - half)` with ReLUs between;
    /// the first `d - half` outputs are the shift, the others the raw logarithm of the scale.
    pub coupling: [LayerWeights; 3],
}

impl FlowStepWeights {
    fn validate(&self, step: usize, d: usize) -> Result<(), ModelError> {
        let name = |part: &str| format!("flow.{step}.{part}");
        expect_shape(&name("bias"), &vector(&self.bias), &[d])?;
        expect_shape(&name("log_scale"), &vector(&self.log_scale), &[d])?;
        expect_shape(&name("matrix"), &self.matrix, &[d, d])?;
        expect_shape(&name("inverse"), &self.inverse, &[d, d])?;
        let hidden = self.coupling[0].weight.shape.first().copied().unwrap_or(0);
        let half = d / 2;
        let widths = [half, hidden, hidden, 2 * (d - half)];
        for (index, layer) in self.coupling.iter().enumerate() {
            let name = name(&format!("coupling.{index}"));
            expect_shape(&name, &layer.weight, &[widths[index + 1], widths[index]])?;
            expect_shape(&name, &layer.bias, &[widths[index + 1]])?;
        }
        Ok(())
    }

    /// Actnorm and linear map as one affine map `z @ matrix + offset`: `[d, d]` and `[d]`.
    fn affine(&self) -> (Tensor, Tensor) {
        let d = self.bias.len();
        let mut matrix = vec![0.0; d * d];
        let mut offset = vec![0.0_f64; d];
        for row in 0..d {
            let scale = f64::from(self.log_scale[row]).exp();
            for column in 0..d {
                let scaled = scale * f64::from(self.matrix.data[row * d + column]);
                matrix[row * d + column] = scaled as f32;
                offset[column] += f64::from(self.bias[row]) * scaled;
            }
        }
        let offset = offset.into_iter().map(|v| v as f32).collect();
        (Tensor::new([d, d], matrix), Tensor::new([d], offset))
    }

    /// The inverse of [`affine`](Self::affine), also as `h @ matrix + offset`.
    fn inverse_affine(&self) -> (Tensor, Tensor) {
        let d = self.bias.len();
        let mut matrix = self.inverse.data.clone();
        for row in matrix.chunks_mut(d) {
            for (value, &log_scale) in row.iter_mut().zip(&self.log_scale) {
                *value = (f64::from(*value) * f64::from(-log_scale).exp()) as f32;
            }
        }
        let offset = self.bias.iter().map(|bias| -bias).collect();
        (Tensor::new([d, d], matrix), Tensor::new([d], offset))
    }

    fn constant_log_det(&self) -> f64 {
        self.log_scale.iter().copied().map(f64::from).sum::<f64>() + f64::from(self.log_abs_det)
    }
}

fn vector(values: &[f32]) -> Tensor {
    Tensor::new([values.len()], values.to_vec())
}

/// Shift and logarithm of the scale, each `[B, d - half]`.
fn coupling(
    graph: &mut Graph,
    step: usize,
    weights: &FlowStepWeights,
    a: &Value,
) -> Result<(Value, Value), ModelError> {
    let mut h = a.clone();
    for (index, layer) in weights.coupling.iter().enumerate() {
        let name = format!("flow.{step}.coupling.{index}");
        let weight = graph.weights(&format!("{name}.weight"), layer.weight.clone());
        let bias = graph.weights(&format!("{name}.bias"), layer.bias.clone());
        h = graph.linear(&h, &weight, &bias)?;
        if index + 1 < weights.coupling.len() {
            h = graph.relu(&h)?;
        }
    }
    let changed = weights.bias.len() - weights.bias.len() / 2;
    let parts = graph.split(&h, 1, &[changed, changed])?;
    let log_s = graph.tanh(&parts[1])?;
    Ok((parts[0].clone(), log_s))
}

/// A step's tensors for the normalising direction, where latents keep all d columns.
///
/// Splitting a latent and joining it again costs more than arithmetic on matrices of this size, so
/// the coupling network reads all of h, with weight 0 on what it must not see, and writes shift 0
/// and log-scale `tanh(0) = 0` for the half that stays. The shift's bias is part of `offset`: the
/// network does not see that half of h.
struct WholeStep {
    /// `[d, d]`, actnorm and linear map.
    matrix: Tensor,
    /// `[d]`.
    offset: Tensor,
    /// `[hidden, d]`, the coupling network's first weight.
    read: Tensor,
    /// `[d, hidden]`, its last one, for the shift.
    shift: Tensor,
    /// `[d, hidden]`, the same for the raw log-scale, and its bias `[d]`.
    raw: (Tensor, Tensor),
}

impl WholeStep {
    fn new(weights: &FlowStepWeights) -> Self {
        let d = weights.bias.len();
        let half = d / 2;
        let [first, middle, last] = &weights.coupling;
        let hidden = middle.weight.shape[1];
        let (matrix, mut offset) = weights.affine();
        let (shift_bias, raw_bias) = last.bias.data.split_at(d - half);
        for (offset, bias) in offset.data[half..].iter_mut().zip(shift_bias) {
            *offset += bias;
        }
        let mut read = vec![0.0; hidden * d];
        for (to, from) in read
            .chunks_mut(d)
            .zip(first.weight.data.chunks(half.max(1)))
        {
            to[..half].copy_from_slice(from);
        }
        let below = |rows: &[f32], columns: usize| {
            let zeros = std::iter::repeat_n(0.0, half * columns);
            zeros.chain(rows.iter().copied()).collect::<Vec<f32>>()
        };
        let (shift, raw) = last.weight.data.split_at((d - half) * hidden);
        Self {
            matrix,
            offset,
            read: Tensor::new([hidden, d], read),
            shift: Tensor::new([d, hidden], below(shift, hidden)),
            raw: (
                Tensor::new([d, hidden], below(raw, hidden)),
                Tensor::new([d], below(raw_bias, 1)),
            ),
        }
    }
}

/// `z` to `z0` and `log_prob = log p(z0) + log|det dz0/dz|`, p(z0) being the base.
pub(super) fn normalizing_graph(d: usize, weights: &FlowWeights) -> Result<Graph, ModelError> {
    let FlowWeights { steps, base } = weights;
    let mut graph = Graph::new("flow");
    let mut z = graph.input("z", &[Dim::Batch, Dim::Fixed(d)]);
    let mut constant = 0.0;
    let mut log_scales = Vec::with_capacity(steps.len());
    for (step, weights) in steps.iter().enumerate() {
        weights.validate(step, d)?;
        let whole = WholeStep::new(weights);
        let mut store =
            |part: &str, tensor: Tensor| graph.weights(&format!("flow.{step}.{part}"), tensor);
        let matrix = store("affine.matrix", whole.matrix);
        let offset = store("affine.offset", whole.offset);
        let read = store("whole.read", whole.read);
        let shift = store("whole.shift", whole.shift);
        let raw = store("whole.raw.weight", whole.raw.0);
        let raw_bias = store("whole.raw.bias", whole.raw.1);
        let [first, middle, _] = &weights.coupling;
        let first_bias = store("coupling.0.bias", first.bias.clone());
        let middle_weight = store("coupling.1.weight", middle.weight.clone());
        let middle_bias = store("coupling.1.bias", middle.bias.clone());

        let h = graph.apply(Op::Gemm(Gemm::default()), &[&z, &matrix, &offset])?;
        let hidden = graph.linear(&h, &read, &first_bias)?;
        let hidden = graph.relu(&hidden)?;
        let hidden = graph.linear(&hidden, &middle_weight, &middle_bias)?;
        let hidden = graph.relu(&hidden)?;
        let shifted = graph.linear(&hidden, &shift, &h)?;
        let log_s = graph.linear(&hidden, &raw, &raw_bias)?;
        let log_s = graph.tanh(&log_s)?;
        let scale = graph.exp(&log_s)?;
        z = graph.mul(&shifted, &scale)?;
        log_scales.push(log_s);
        constant += weights.constant_log_det();
    }
    let mut log_prob = if base.is_empty() {
        constant -= 0.5 * d as f64 * (2.0 * PI).ln();
        let square = graph.reduce_sum_square(&z, &[1], false)?;
        graph.scale(&square, -0.5)?
    } else {
        mixture::log_density(&mut graph, &z, d, base)?
    };
    if !log_scales.is_empty() {
        let all: Vec<_> = log_scales.iter().collect();
        let joined = graph.concat(&all, 1)?;
        let log_det = graph.reduce_sum(&joined, &[1], false)?;
        log_prob = graph.add(&log_prob, &log_det)?;
    }
    if constant != 0.0 {
        let constant = graph.scalar(constant as f32);
        log_prob = graph.add(&log_prob, &constant)?;
    }
    graph.output("z0", &z)?;
    graph.output("log_prob", &log_prob)?;
    graph.simplify();
    Ok(graph)
}

/// `z0` to `z`: the steps inverted, last to first.
pub(super) fn sampling_graph(d: usize, steps: &[FlowStepWeights]) -> Result<Graph, ModelError> {
    let mut graph = Graph::new("prior");
    let mut z = graph.input("z0", &[Dim::Batch, Dim::Fixed(d)]);
    let half = d / 2;
    for (step, weights) in steps.iter().enumerate().rev() {
        weights.validate(step, d)?;
        let parts = graph.split(&z, 1, &[half, d - half])?;
        let (shift, log_s) = coupling(&mut graph, step, weights, &parts[0])?;
        let negative = graph.neg(&log_s)?;
        let scale = graph.exp(&negative)?;
        let unscaled = graph.mul(&parts[1], &scale)?;
        let original = graph.sub(&unscaled, &shift)?;
        let h = graph.concat(&[&parts[0], &original], 1)?;
        let (matrix, offset) = weights.inverse_affine();
        let matrix = graph.weights(&format!("flow.{step}.inverse.matrix"), matrix);
        let offset = graph.weights(&format!("flow.{step}.inverse.offset"), offset);
        z = graph.apply(Op::Gemm(Gemm::default()), &[&h, &matrix, &offset])?;
    }
    graph.output("z", &z)?;
    graph.simplify();
    Ok(graph)
}
