//! A flow with fixed weights, and the gradient of its log-density in z written out.
//!
//! Langevin inference asks for that gradient tens of times per training iteration. Writing it out
//! lets activation normalisation and linear map be one matrix product, computes only the gradient that
//! is needed, and spares autograd's bookkeeping, which on matrices of this size costs more
//! than the arithmetic.

use tch::Tensor;

use super::{Flow, FlowStep, Mixture, base_gradient, base_log_density};

/// See the module's text. Made by [`Flow::freeze`].
#[derive(Debug)]
pub struct FrozenFlow {
    steps: Vec<FrozenStep>,
    base: Vec<Mixture>,
}

impl Flow {
    /// A copy with fixed weights.
    pub fn freeze(&self) -> FrozenFlow {
        let _guard = tch::no_grad_guard();
        FrozenFlow {
            steps: self.steps.iter().map(FrozenStep::new).collect(),
            base: self.base.iter().map(Mixture::shallow_clone).collect(),
        }
    }
}

impl FrozenFlow {
    /// log p(z), of shape (rows).
    pub fn log_density(&self, z: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let mut z = z.shallow_clone();
        let mut log_det: Option<Tensor> = None;
        for step in &self.steps {
            let trace = step.forward(&z);
            let own = trace
                .log_scale
                .sum_dim_intlist([1i64].as_slice(), false, None)
                + &step.constant_log_det;
            log_det = Some(match log_det {
                Some(sum) => sum + own,
                None => own,
            });
            z = trace.out;
        }
        let base = base_log_density(&self.base, &z);
        match log_det {
            Some(log_det) => base + log_det,
            None => base,
        }
    }

    /// d log p(z) / dz, of shape (rows, dim).
    pub fn gradient(&self, z: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let mut traces: Vec<Trace> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let trace = step.forward(traces.last().map_or(z, |last| &last.out));
            traces.push(trace);
        }
        let z0 = traces.last().map_or(z, |last| &last.out);
        let mut gradient = base_gradient(&self.base, z0);
        for (step, trace) in self.steps.iter().zip(&traces).rev() {
            gradient = step.pull_back(trace, &gradient);
        }
        gradient
    }
}

/// `h = z @ matrix + offset`, then the coupling on h.
#[derive(Debug)]
struct FrozenStep {
    matrix: Tensor,
    offset: Tensor,
    constant_log_det: Tensor,
    half: i64,
    weights: [Tensor; 3],
    biases: [Tensor; 3],
}

/// Values of the forward pass that the backward pass needs.
struct Trace {
    hidden: [Tensor; 2],
    log_scale: Tensor,
    scale: Tensor,
    out: Tensor,
}

impl FrozenStep {
    fn new(step: &FlowStep) -> Self {
        let FlowStep {
            actnorm,
            linear,
            coupling,
        } = step;
        let (scale, matrix) = (actnorm.log_scale.exp(), linear.matrix());
        Self {
            offset: (&actnorm.bias * &scale)
                .unsqueeze(0)
                .matmul(&matrix)
                .squeeze_dim(0),
            matrix: scale.unsqueeze(1) * matrix,
            constant_log_det: actnorm.log_scale.sum(None) + linear.log_abs_det(),
            half: coupling.half,
            weights: coupling
                .layers
                .each_ref()
                .map(|layer| layer.weight.detach()),
            biases: coupling.layers.each_ref().map(|layer| layer.bias.detach()),
        }
    }

    fn forward(&self, z: &Tensor) -> Trace {
        let h = self.offset.addmm(z, &self.matrix);
        let rest = h.size()[1] - self.half;
        let (a, b) = (h.narrow(1, 0, self.half), h.narrow(1, self.half, rest));
        let [w0, w1, w2] = &self.weights;
        let [b0, b1, b2] = &self.biases;
        let first = a.linear(w0, Some(b0)).relu_();
        let second = first.linear(w1, Some(b1)).relu_();
        let net = second.linear(w2, Some(b2));
        let log_scale = net.narrow(1, rest, rest).tanh();
        let scale = log_scale.exp();
        let moved = (b + net.narrow(1, 0, rest)) * &scale;
        let out = Tensor::cat(&[a, moved], 1);
        Trace {
            hidden: [first, second],
            log_scale,
            scale,
            out,
        }
    }

    /// From the gradient in this step's output to the gradient in its input, the step's own
    /// log-determinant included.
    fn pull_back(&self, trace: &Trace, gradient: &Tensor) -> Tensor {
        let rest = gradient.size()[1] - self.half;
        let (kept, moved) = (
            gradient.narrow(1, 0, self.half),
            gradient.narrow(1, self.half, rest),
        );
        let shift = &moved * &trace.scale;
        let log_scale = (moved * trace.out.narrow(1, self.half, rest)).g_add_scalar_(1.0);
        let raw = Tensor::tanh_backward(&log_scale, &trace.log_scale);
        let net = Tensor::cat(&[&shift, &raw], 1);

        let [w0, w1, w2] = &self.weights;
        let [first, second] = &trace.hidden;
        let back = second.threshold_backward(&net.matmul(w2), 0);
        let back = first.threshold_backward(&back.matmul(w1), 0);
        let a = kept.addmm(&back, w0);
        Tensor::cat(&[a, shift], 1).matmul(&self.matrix.tr())
    }
}
