//! A fully connected layer.

use lfbm_model::LayerWeights;
use tch::{Device, Tensor};

use super::parameters::Role;
use super::{host, init};

/// `x @ weight^T + bias`, weight of shape (outputs, inputs).
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
}

impl Linear {
    /// Random weights, drawn from torch's generator.
    pub(crate) fn new(inputs: i64, outputs: i64, device: Device) -> Self {
        let (weight, bias) = init::fan_in_uniform(&[outputs, inputs], outputs, inputs, device);
        Self { weight, bias }
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.linear(&self.weight, Some(&self.bias))
    }

    /// Both tensors in the layout of the bundle.
    pub(crate) fn weights(&self) -> LayerWeights {
        LayerWeights {
            weight: host::to_host(&self.weight),
            bias: host::to_host(&self.bias),
        }
    }

    /// Visits both tensors, with `name.` before their names.
    pub(crate) fn visit(&mut self, name: &str, visitor: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        visitor(&format!("{name}.weight"), Role::Learned, &mut self.weight);
        visitor(&format!("{name}.bias"), Role::Learned, &mut self.bias);
    }
}
