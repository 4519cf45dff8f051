//! Activation normalisation (Kingma & Dhariwal 2018, <https://arxiv.org/abs/1807.03039>, 3.1).

use tch::{Device, Kind, Tensor};

use super::Transform;
use crate::model::parameters::{Parameters, Role};

/// Below this, a latent coordinate is taken for constant and is not blown up to unit variance.
const LEAST_STD: f64 = 1e-3;

/// Fewer rows do not tell how far latents spread: a coordinate in which they happen to be close would be blown up.
const FEWEST_ROWS: i64 = 8;

/// `y = (z + bias) * exp(log_scale)`, one bias and scale per coordinate.
#[derive(Debug)]
pub struct ActNorm {
    pub(crate) bias: Tensor,
    pub(crate) log_scale: Tensor,
}

impl ActNorm {
    /// The identity on `dim` coordinates.
    pub fn new(dim: i64, device: Device) -> Self {
        let zeros = || Tensor::zeros([dim], (Kind::Float, device));
        Self {
            bias: zeros(),
            log_scale: zeros(),
        }
    }

    /// Sets bias and scale so that the rows of `z` come out with mean 0 and variance 1. Of too few rows nothing is set:
    /// latents begin near N(0, I).
    pub fn initialise(&mut self, z: &Tensor) {
        if z.size()[0] < FEWEST_ROWS {
            return;
        }
        let _guard = tch::no_grad_guard();
        let mean = z.mean_dim([0i64].as_slice(), false, None);
        let std = z
            .std_dim([0i64].as_slice(), false, false)
            .clamp_min(LEAST_STD);
        self.bias.copy_(&mean.neg());
        self.log_scale.copy_(&std.log().neg());
    }
}

impl Transform for ActNorm {
    fn forward(&self, z: &Tensor) -> (Tensor, Tensor) {
        let y = (z + &self.bias) * self.log_scale.exp();
        (y, self.log_scale.sum(None))
    }

    fn inverse(&self, out: &Tensor) -> (Tensor, Tensor) {
        let z = out * self.log_scale.neg().exp() - &self.bias;
        (z, self.log_scale.sum(None).neg())
    }
}

impl Parameters for ActNorm {
    fn visit(&mut self, visitor: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        visitor("bias", Role::Learned, &mut self.bias);
        visitor("log_scale", Role::Learned, &mut self.log_scale);
    }
}
