//! Inverse autoregressive flow (Kingma et al. 2016, <https://arxiv.org/abs/1606.04934>), its
//! networks masked as in MADE (Germain et al. 2015, <https://arxiv.org/abs/1502.03509>).

use lfbm_model::{IafStepWeights, LayerWeights};
use tch::{Device, Kind, Tensor};

use super::linear::Linear;
use super::parameters::{Parameters, Role};
use super::{host, init};

/// A new step keeps nearly all of z: its gates are sigmoid(2) = 0.88.
const FIRST_GATE: f64 = 2.0;

/// With `(m, s) = network(z, context)` and `gate = sigmoid(s)`: `out = gate * z + (1 - gate) * m`.
///
/// The network is two hidden layers with ReLU. m and s of a coordinate depend only on the coordinates
/// before it (and on the context), so the Jacobian is triangular with the gates on its
/// diagonal.
#[derive(Debug)]
pub struct IafStep {
    context: Tensor,
    layers: [Linear; 3],
    /// What is multiplied with the weights of the layers.
    masks: [Tensor; 3],
}

impl IafStep {
    /// A step on `dim` coordinates in their order, or in the reverse one.
    pub fn new(dim: i64, context: i64, hidden: i64, reversed: bool, device: Device) -> Self {
        let integers = |count| Tensor::arange(count, (Kind::Int64, device));
        let mut place = integers(dim);
        if reversed {
            place = place.flip([0]);
        }
        // A hidden unit sees so many coordinates: from none to all but the last.
        let sees = integers(hidden).remainder(dim);
        let places = Tensor::cat(&[&place, &place], 0);
        let masks = [
            sees.unsqueeze(1).gt_tensor(&place.unsqueeze(0)),
            sees.unsqueeze(1).ge_tensor(&sees.unsqueeze(0)),
            places.unsqueeze(1).ge_tensor(&sees.unsqueeze(0)),
        ];
        let last = Linear::new(hidden, 2 * dim, device);
        let _ = last.bias.narrow(0, dim, dim).fill_(FIRST_GATE);
        Self {
            context: init::fan_in_uniform(&[hidden, context], hidden, context, device).0,
            layers: [
                Linear::new(dim, hidden, device),
                Linear::new(hidden, hidden, device),
                last,
            ],
            masks: masks.map(|mask| mask.to_kind(Kind::Float)),
        }
    }

    /// From z, of shape (rows, dim), and context, of shape (rows, context), to out and the
    /// logarithm of the Jacobian determinant, of shape (rows).
    pub fn forward(&self, z: &Tensor, context: &Tensor) -> (Tensor, Tensor) {
        let dim = z.size()[1];
        let seen = context.matmul(&self.context.tr());
        let hidden = (self.layer(0, z) + seen).relu();
        let hidden = self.layer(1, &hidden).relu();
        let out = self.layer(2, &hidden);
        let (m, s) = (out.narrow(1, 0, dim), out.narrow(1, dim, dim));
        let log_det = s
            .log_sigmoid()
            .sum_dim_intlist([1i64].as_slice(), false, None);
        (&m + s.sigmoid() * (z - &m), log_det)
    }

    fn layer(&self, index: usize, x: &Tensor) -> Tensor {
        x.linear(&self.masked(index), Some(&self.layers[index].bias))
    }

    fn masked(&self, index: usize) -> Tensor {
        &self.layers[index].weight * &self.masks[index]
    }

    /// The weights in the layout of the bundle.
    pub fn weights(&self) -> IafStepWeights {
        let _guard = tch::no_grad_guard();
        IafStepWeights {
            context: host::to_host(&self.context),
            layers: [0, 1, 2].map(|index| LayerWeights {
                weight: host::to_host(&self.masked(index)),
                bias: host::to_host(&self.layers[index].bias),
            }),
        }
    }
}

impl Parameters for IafStep {
    fn visit(&mut self, visitor: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        visitor("context", Role::Learned, &mut self.context);
        for (index, (layer, mask)) in self.layers.iter_mut().zip(&mut self.masks).enumerate() {
            layer.visit(&format!("layers.{index}"), visitor);
            visitor(&format!("masks.{index}"), Role::Fixed, mask);
        }
    }
}
