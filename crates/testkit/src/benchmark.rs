//! What benchmarks measure, and what a device is checked with.

use std::path::Path;

use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::Manifest;
use lfbm_model::GeneratorName;
use lfbm_runtime::{ChainSizes, PosteriorStep, Runtime, RuntimeError, StepInputs, StepOutputs};

use crate::random::{Failure, RandomModel, random_bundle_of};

const LATENT_DIM: usize = 16;
/// Width of the generator that benchmarks measure.
pub const BENCHMARK_WIDTH: usize = 16;
const SEED: u64 = 1;

/// The model that benchmarks measure: random weights, d = 16, width 16. `benches/peer_pytorch.py` has the same
/// architecture in PyTorch for `mlp` and `mnist`.
pub fn benchmark_model(generator: GeneratorName) -> RandomModel {
    RandomModel::new(generator, LATENT_DIM, BENCHMARK_WIDTH, SEED)
}

/// Writes the bundle of [`benchmark_model`].
///
/// # Errors
/// When the bundle cannot be written.
pub fn benchmark_bundle(
    out: &Path,
    runtime: &Runtime,
    generator: GeneratorName,
) -> Result<Bundle, Failure> {
    random_bundle_of(out, runtime, benchmark_model(generator))
}

/// What a Langevin step of `rows` rows reads and writes; fields are those of [`StepInputs`] and
/// [`StepOutputs`].
#[derive(Clone, Debug)]
pub struct StepRows {
    rows: usize,
    /// Rows x d.
    pub z: Vec<f32>,
    /// Rows x C H W; of sites, rows x D.
    pub x: Vec<f32>,
    /// Rows x H W; of sites, rows.
    pub mask: Vec<f32>,
    /// Rows x d.
    pub noise: Vec<f32>,
    /// Rows.
    pub step_size: Vec<f32>,
    /// Rows.
    pub noise_scale: Vec<f32>,
    /// Rows x d.
    pub z_next: Vec<f32>,
    /// Rows.
    pub log_prior: Vec<f32>,
    /// Rows.
    pub log_likelihood: Vec<f32>,
}

impl StepRows {
    /// Equal rows of a model, with noise and nothing hidden.
    pub fn new(manifest: &Manifest, rows: usize) -> Self {
        let sizes = ChainSizes::new(manifest);
        let all = |row: usize, value| vec![value; rows * row];
        Self {
            rows,
            z: all(sizes.latent_dim, 0.3),
            x: all(sizes.values, 0.2),
            mask: all(sizes.positions, 1.0),
            noise: all(sizes.latent_dim, 0.1),
            step_size: all(1, 0.1),
            noise_scale: all(1, 1.0),
            z_next: all(sizes.latent_dim, 0.0),
            log_prior: all(1, 0.0),
            log_likelihood: all(1, 0.0),
        }
    }

    /// Takes one step; `z` stays.
    ///
    /// # Errors
    /// When a length does not fit the number of rows, or the run fails.
    pub fn step(&mut self, posterior: &mut PosteriorStep) -> Result<(), RuntimeError> {
        posterior.run(
            self.rows,
            StepInputs {
                z: &self.z,
                x: &self.x,
                mask: &self.mask,
                noise: &self.noise,
                step_size: &self.step_size,
                noise_scale: &self.noise_scale,
            },
            StepOutputs {
                z_next: &mut self.z_next,
                log_prior: &mut self.log_prior,
                log_likelihood: &mut self.log_likelihood,
                reconstruction: None,
            },
        )
    }
}
