//! An energy-based prior (Pang et al. 2020, <https://arxiv.org/abs/2006.08205>):
//! log p(z) = -E(z) + log N(z; 0, I) - log Z, with Z unknown.

use lfbm_bundle::manifest::PriorSampling;
use lfbm_model::EnergyWeights;
use tch::{Device, Kind, Tensor};

use super::Langevin;
use super::density::log_standard_normal;
use super::generator::{NEGATIVE_SLOPE, negative_slope};
use super::linear::Linear;
use super::parameters::{Parameters, Role, convert};

/// E, a network `dim -> hidden -> hidden -> 1` with leaky ReLU between its layers.
#[derive(Debug)]
pub struct Energy {
    layers: [Linear; 3],
    slope: Tensor,
    chain: Langevin,
}

impl Energy {
    /// An energy of latents of `dim` coordinates, drawn from torch's generator.
    pub fn new(dim: i64, hidden: i64, sampling: PriorSampling, device: Device) -> Self {
        Self {
            chain: Langevin {
                steps: sampling.steps as usize,
                step_size: sampling.step_size.into(),
                noise_free_steps: 0,
                max_gradient_norm: None,
                from_encoder: false,
            },
            layers: [
                Linear::new(dim, hidden, device),
                Linear::new(hidden, hidden, device),
                Linear::new(hidden, 1, device),
            ],
            slope: negative_slope(Kind::Float, device),
        }
    }

    /// E(z), of shape (rows). Differentiable by autograd.
    pub fn energy(&self, z: &Tensor) -> Tensor {
        let [first, second, last] = &self.layers;
        let hidden = first.forward(z).prelu(&self.slope);
        let hidden = second.forward(&hidden).prelu(&self.slope);
        last.forward(&hidden).squeeze_dim(1)
    }

    /// log p(z) + log Z, of shape (rows).
    pub fn log_density(&self, z: &Tensor) -> Tensor {
        log_standard_normal(z) - self.energy(z)
    }

    /// Latents of the prior: ends of short Langevin chains, with the given standard normal draws of
    /// shape (steps + 1, rows, dim).
    pub fn sample(&self, noise: &Tensor) -> Tensor {
        let frozen = self.freeze();
        self.chain.walk(|z| frozen.gradient(z), noise)
    }

    /// The mean over the latents `z` of -log p(z) - log Z, less the mean energy of as many samples of
    /// the prior, whose noise comes from torch's generator; of shape ().
    ///
    /// Its gradient in the weights is that of the mean of -log p(z): log Z is unknown, but its gradient
    /// is the mean gradient of -E over the prior.
    pub fn contrast(&self, z: &Tensor) -> Tensor {
        let [rows, dim] = [z.size()[0], z.size()[1]];
        let samples = self.sample(&self.chain.draw_noise(rows, dim, z));
        self.log_density(z).mean(None).neg() - self.energy(&samples).mean(None)
    }

    /// A copy with fixed weights.
    pub fn freeze(&self) -> FrozenEnergy {
        let layers = self.layers.each_ref();
        FrozenEnergy {
            weights: layers.map(|layer| layer.weight.detach()),
            biases: layers.map(|layer| layer.bias.detach()),
            slope: self.slope.shallow_clone(),
        }
    }

    /// Converts all tensors to `kind`: double precision, for numerical checks.
    pub fn set_kind(&mut self, kind: Kind) {
        convert(self, kind);
        self.slope = negative_slope(kind, self.slope.device());
    }

    /// The weights in the layout of the bundle.
    pub fn weights(&self) -> EnergyWeights {
        self.layers.each_ref().map(Linear::weights)
    }
}

impl Parameters for Energy {
    fn visit(&mut self, visitor: &mut dyn FnMut(&str, Role, &mut Tensor)) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.visit(&format!("layers.{index}"), visitor);
        }
    }
}

/// An energy with fixed weights, and the gradient of its log-density written out. Made by
/// [`Energy::freeze`].
#[derive(Debug)]
pub struct FrozenEnergy {
    weights: [Tensor; 3],
    biases: [Tensor; 3],
    slope: Tensor,
}

impl FrozenEnergy {
    /// Outputs of both hidden layers.
    fn hidden(&self, z: &Tensor) -> [Tensor; 2] {
        let layer = |x: &Tensor, index: usize| {
            let linear = x.linear(&self.weights[index], Some(&self.biases[index]));
            linear.prelu(&self.slope)
        };
        let first = layer(z, 0);
        let second = layer(&first, 1);
        [first, second]
    }

    /// log p(z) + log Z, of shape (rows).
    pub fn log_density(&self, z: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let [_, hidden] = self.hidden(z);
        let energy = hidden.linear(&self.weights[2], Some(&self.biases[2]));
        log_standard_normal(z) - energy.squeeze_dim(1)
    }

    /// d log p(z) / dz = -z - dE/dz, of shape (rows, dim).
    pub fn gradient(&self, z: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let [first, second] = self.hidden(z);
        let [w0, w1, w2] = &self.weights;
        let back = second.leaky_relu_backward(&w2.expand_as(&second), NEGATIVE_SLOPE, true);
        let back = first.leaky_relu_backward(&back.matmul(w1), NEGATIVE_SLOPE, true);
        (z + back.matmul(w0)).neg()
    }
}
