//! Affine coupling (Dinh et al. 2017, <https://arxiv.org/abs/1605.08803>).

use tch::{Device, Kind, Tensor};

use super::Transform;
use crate::model::linear::Linear;
use crate::model::parameters::{Parameters, Role};

/// With `z = (a, b)` cut after `dim / 2` coordinates and `(shift, raw) = net(a)`:
/// `out = (a, (b + shift) * exp(tanh(raw)))`.
///
/// The net is two hidden layers with ReLU; the last layer starts at zero, so that a new coupling
/// is the identity. `tanh` bounds the log-scale to (-1, 1), which keeps deep flows stable.
#[derive(Debug)]
pub struct Coupling {
    pub(crate) half: i64,
    pub(crate) layers: [Linear; 3],
}

impl Coupling {
    /// A coupling of `dim` coordinates (at least 2) with `hidden` units in each hidden layer.
    pub fn new(dim: i64, hidden: i64, device: Device) -> Self {
        let half = dim / 2;
        let zeros = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, device));
        let outputs = 2 * (dim - half);
        let last = Linear {
            weight: zeros(&[outputs, hidden]),
            bias: zeros(&[outputs]),
        };
        Self {
            half,
            layers: [
                Linear::new(half, hidden, device),
                Linear::new(hidden, hidden, device),
                last,
            ],
        }
    }

    /// Both halves of a row, and shift and log-scale for the second.
    fn parts(&self, z: &Tensor) -> [Tensor; 4] {
        let rest = z.size()[1] - self.half;
        let (a, b) = (z.narrow(1, 0, self.half), z.narrow(1, self.half, rest));
        let [first, second, last] = &self.layers;
        let net = last.forward(&second.forward(&first.forward(&a).relu()).relu());
        let (shift, raw) = (net.narrow(1, 0, rest), net.narrow(1, rest, rest));
        [a, b, shift, raw.tanh()]
    }
}

impl Transform for Coupling {
    fn forward(&self, z: &Tensor) -> (Tensor, Tensor) {
        let [a, b, shift, log_scale] = self.parts(z);
        let moved = (b + shift) * log_scale.exp();
        (Tensor::cat(&[a, moved], 1), sum_rows(&log_scale))
    }

    fn inverse(&self, out: &Tensor) -> (Tensor, Tensor) {
        let [a, b, shift, log_scale] = self.parts(out);
        let moved = b * log_scale.neg().exp() - shift;
        (Tensor::cat(&[a, moved], 1), sum_rows(&log_scale).neg())
    }
}

fn sum_rows(t: &Tensor) -> Tensor {
    t.sum_dim_intlist([1i64].as_slice(), false, None)
}

impl Parameters for Coupling {
    fn visit(&mut self, visitor: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.visit(&format!("layers.{index}"), visitor);
        }
    }
}
