//! Images from a model's prior.

use std::path::Path;

use lfbm_bundle::manifest::{Manifest, PriorSampling};

use crate::error::RuntimeError;
use crate::graphs::{Generator, PriorSampler, PriorStep};
use crate::library::Runtime;
use crate::noise::ChainNoise;
use crate::options::SessionOptions;

/// `prior.onnx` and `generator.onnx` of a bundle, open.
pub struct Sampler {
    prior: Prior,
    generator: Generator,
    latent_dim: usize,
    /// Of an x.
    values: usize,
}

enum Prior {
    /// One run gives samples.
    Exact(PriorSampler),
    /// Short-run Langevin.
    ShortRun(PriorStep, PriorSampling),
    /// The bundle has no graph for it.
    Missing,
}

impl Sampler {
    /// Opens the graphs in `dir`, which `manifest` describes.
    ///
    /// # Errors
    /// When ONNX Runtime refuses a graph, or the device cannot be had.
    pub fn open(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        let prior = match manifest.prior_sampling {
            None if !manifest.has_prior_graph() => Prior::Missing,
            None => Prior::Exact(PriorSampler::open(runtime, dir, manifest, options)?),
            Some(sampling) => {
                let step = PriorStep::open(runtime, dir, manifest, options)?;
                Prior::ShortRun(step, sampling)
            }
        };
        Ok(Self {
            prior,
            generator: Generator::open(runtime, dir, manifest, options)?,
            latent_dim: manifest.latent_dim,
            values: manifest.x_shape().iter().product(),
        })
    }

    /// `n` images x from the prior, n x C H W: g(z) of [`latents`](Self::latents). The first of
    /// many are those of a smaller `n`.
    ///
    /// # Errors
    /// When a run fails.
    pub fn sample(&mut self, n: usize, seed: u64) -> Result<Vec<f32>, RuntimeError> {
        let z = self.latents(n, seed)?;
        self.generate(&z)
    }

    /// `n` latents z from the prior, n x d: from z0 ~ N(0, I), z = f(z0) where the prior is a flow,
    /// and the end of a Langevin chain where it is an energy.
    ///
    /// # Errors
    /// When the bundle holds no `prior.onnx`, or a run fails.
    pub fn latents(&mut self, n: usize, seed: u64) -> Result<Vec<f32>, RuntimeError> {
        let noise = ChainNoise::new(seed, 0);
        let mut z0 = vec![0.0; n * self.latent_dim];
        noise.initial(&mut z0);
        let mut z = vec![0.0; z0.len()];
        match &mut self.prior {
            Prior::Missing => return Err(RuntimeError::NoPriorGraph),
            Prior::Exact(prior) => prior.run(n, &z0, &mut z)?,
            Prior::ShortRun(step, PriorSampling { steps, step_size }) => {
                let step_size = vec![*step_size; n];
                let mut draw = vec![0.0; z.len()];
                let mut z_next = std::mem::replace(&mut z, z0);
                for index in 0..*steps {
                    noise.step(index, &mut draw);
                    step.run(&z, &draw, &step_size, &mut z_next)?;
                    std::mem::swap(&mut z, &mut z_next);
                }
            }
        }
        Ok(z)
    }

    /// g(z) of latents, n x d.
    ///
    /// # Errors
    /// When the run fails.
    pub fn generate(&mut self, z: &[f32]) -> Result<Vec<f32>, RuntimeError> {
        let rows = z.len() / self.latent_dim;
        let mut x = vec![0.0; rows * self.values];
        self.generator.run(rows, z, &mut x)?;
        Ok(x)
    }
}
