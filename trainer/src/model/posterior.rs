//! The posterior p(z|x), up to its constant, with fixed weights.

use tch::{Kind, Tensor};

use super::density::{log_likelihood, masked};
use super::{FrozenGenerator, FrozenPrior};

/// A batch of images with their masks.
#[derive(Debug)]
pub struct Observation {
    /// Preprocessed images, of shape (rows, C, H, W).
    pub x: Tensor,
    /// 1 for a visible pixel and 0 for a hidden one, of shape (rows, 1, H, W); `None`: all visible.
    pub mask: Option<Tensor>,
}

impl Observation {
    /// The rows `indices`; masks of another kind become numbers of single precision.
    pub fn rows(&self, indices: &Tensor) -> Self {
        let of_rows = |tensor: &Tensor| tensor.index_select(0, indices);
        Self {
            x: of_rows(&self.x),
            mask: (self.mask.as_ref()).map(|mask| of_rows(mask).to_kind(Kind::Float)),
        }
    }
}

/// log p(x|z) and its gradient in z.
#[derive(Debug)]
pub struct Likelihood {
    pub(super) generator: FrozenGenerator,
    pub(super) sigma: f64,
}

impl Likelihood {
    /// The same with a generator that computes in `kind`. Images, residuals and latents keep theirs.
    pub fn to_kind(&self, kind: Kind) -> Self {
        Self {
            generator: self.generator.to_kind(kind),
            sigma: self.sigma,
        }
    }

    /// log p(x|z), of shape (rows).
    pub fn log_density(&self, z: &Tensor, seen: &Observation) -> Tensor {
        let _guard = tch::no_grad_guard();
        let image = self.generator.forward(z).image;
        log_likelihood(&seen.x, &image, seen.mask.as_ref(), self.sigma)
    }

    /// d log p(x|z) / dz, of shape (rows, latent).
    pub fn gradient(&self, z: &Tensor, seen: &Observation) -> Tensor {
        let _guard = tch::no_grad_guard();
        let generated = self.generator.forward(z);
        let residual = masked(&seen.x - &generated.image, seen.mask.as_ref());
        self.generator.pull_back(&generated, &residual) * (1.0 / (self.sigma * self.sigma))
    }
}

/// log p(x, z) and its gradient in z.
#[derive(Debug)]
pub struct Posterior {
    pub(super) prior: FrozenPrior,
    pub(super) likelihood: Likelihood,
}

impl Posterior {
    /// log p(z) and log p(x|z), each of shape (rows).
    pub fn log_densities(&self, z: &Tensor, seen: &Observation) -> (Tensor, Tensor) {
        (
            self.prior.log_density(z),
            self.likelihood.log_density(z, seen),
        )
    }

    /// d log p(x, z) / dz, of shape (rows, latent).
    pub fn gradient(&self, z: &Tensor, seen: &Observation) -> Tensor {
        self.likelihood.gradient(z, seen) + self.prior.gradient(z)
    }
}
