//! Images from a model's prior.

use std::path::Path;

use crate::manifest::Manifest;
use crate::noise::ChainNoise;
use crate::runtime::{Generator, PriorSampler, Runtime, RuntimeError, SessionOptions};

/// `prior.onnx` and `generator.onnx` of a bundle, open.
pub struct Sampler {
    prior: PriorSampler,
    generator: Generator,
    latent_dim: usize,
    pixels: usize,
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
        Ok(Self {
            prior: PriorSampler::open(runtime, dir, manifest, options)?,
            generator: Generator::open(runtime, dir, manifest, options)?,
            latent_dim: manifest.latent_dim,
            pixels: manifest.image.pixels(),
        })
    }

    /// `n` images x from the prior, n x C H W: z0 ~ N(0, I), z = f(z0), g(z). The first of many are
    /// those of a smaller `n`.
    ///
    /// # Errors
    /// When a run fails.
    pub fn sample(&mut self, n: usize, seed: u64) -> Result<Vec<f32>, RuntimeError> {
        let mut z0 = vec![0.0; n * self.latent_dim];
        ChainNoise::new(seed, 0).initial(&mut z0);
        let mut z = vec![0.0; z0.len()];
        self.prior.run(n, &z0, &mut z)?;
        self.generate(&z)
    }

    /// g(z) of latents, n x d.
    ///
    /// # Errors
    /// When the run fails.
    pub fn generate(&mut self, z: &[f32]) -> Result<Vec<f32>, RuntimeError> {
        let rows = z.len() / self.latent_dim;
        let mut x = vec![0.0; rows * self.pixels];
        self.generator.run(rows, z, &mut x)?;
        Ok(x)
    }
}
