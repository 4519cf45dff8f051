//! A generator with fixed weights, and the gradient in z written out.

use tch::{Kind, Tensor};

use super::generator::NEGATIVE_SLOPE;
use super::operator::Operator;

/// Made by [`super::Generator::freeze`]. It computes no gradient in weights and keeps nothing for
/// autograd, which makes a Langevin step about twice as fast.
#[derive(Debug)]
pub struct FrozenGenerator {
    layers: Vec<Operator>,
    slope: Tensor,
    image: [i64; 3],
    is_bounded: bool,
}

/// An image made by a [`FrozenGenerator`], and what its gradient needs.
#[derive(Debug)]
pub struct Generated {
    /// g(z), of shape (rows, C, H, W).
    pub image: Tensor,
    /// Inputs of the layers after the first.
    activations: Vec<Tensor>,
}

impl FrozenGenerator {
    pub(super) fn new(
        layers: Vec<Operator>,
        slope: Tensor,
        image: [i64; 3],
        is_bounded: bool,
    ) -> Self {
        Self {
            layers,
            slope,
            image,
            is_bounded,
        }
    }

    /// The same generator with layers of another kind. z, g(z) and gradients keep theirs.
    pub(super) fn to_kind(&self, kind: Kind) -> Self {
        let _guard = tch::no_grad_guard();
        let layers = self.layers.iter();
        Self {
            layers: layers.map(|layer| layer.map(|t| t.to_kind(kind))).collect(),
            slope: self.slope.to_kind(kind),
            image: self.image,
            is_bounded: self.is_bounded,
        }
    }

    /// g(z) for z of shape (rows, latent).
    pub fn forward(&self, z: &Tensor) -> Generated {
        let _guard = tch::no_grad_guard();
        let mut activations: Vec<Tensor> = Vec::with_capacity(self.layers.len());
        let mut x = z.to_kind(self.slope.kind());
        for (index, layer) in self.layers.iter().enumerate() {
            if index > 0 {
                x = x.prelu(&self.slope);
                activations.push(x.shallow_clone());
            }
            x = layer.forward(&x);
        }
        let mut x = x.to_kind(z.kind());
        let [channels, height, width] = self.image;
        Generated {
            image: if self.is_bounded { x.tanh_() } else { x }.view([-1, channels, height, width]),
            activations,
        }
    }

    /// From the gradient in the image to the gradient in z, of shape (rows, latent).
    pub fn pull_back(&self, generated: &Generated, gradient: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let kind = gradient.kind();
        let mut gradient = if self.is_bounded {
            Tensor::tanh_backward(gradient, &generated.image)
        } else {
            gradient.shallow_clone()
        }
        .to_kind(self.slope.kind());
        if let Some(Operator::Linear { .. }) = self.layers.last() {
            gradient = gradient.flatten(1, -1);
        }
        let inputs = generated.activations.iter().map(Some).rev().chain([None]);
        for (layer, input) in self.layers.iter().rev().zip(inputs) {
            gradient = layer.pull_back(&gradient);
            if let Some(input) = input {
                gradient = input.leaky_relu_backward(&gradient, NEGATIVE_SLOPE, true);
            }
        }
        gradient.to_kind(kind)
    }
}
