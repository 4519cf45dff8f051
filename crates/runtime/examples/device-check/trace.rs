//! Langevin chains, run by run.

use lfbm_bundle::manifest::Manifest;
use lfbm_runtime::{ChainNoise, PosteriorStep, RuntimeError};
use lfbm_testkit::StepRows;

/// Steps of a chain, K.
pub const STEPS: u32 = 20;
/// Of all noise.
pub const SEED: u64 = 1;
/// With larger steps, in units of sigma, chains amplify rounding: what is compared would be the chains, not
/// the devices.
const STABLE_STEP: f32 = 1.0 / 3.0;

/// What a run of the step's graph gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Latents after the step, rows x d.
    pub z_next: Vec<f32>,
    /// log p(z) before it, rows.
    pub log_prior: Vec<f32>,
    /// log p(x|z) before it, rows.
    pub log_likelihood: Vec<f32>,
}

impl Run {
    /// log p(z) + log p(x|z), rows.
    pub fn scores(&self) -> Vec<f64> {
        let parts = self.log_prior.iter().zip(&self.log_likelihood);
        parts
            .map(|(&prior, &likelihood)| f64::from(prior) + f64::from(likelihood))
            .collect()
    }
}

/// Chains of some rows.
pub struct Chains {
    rows: StepRows,
    noise: Vec<ChainNoise>,
    start: Vec<f32>,
}

impl Chains {
    /// Chains of `x`, rows x C H W (of sites, rows x D), from `start`, rows x d.
    pub fn new(manifest: &Manifest, x: Vec<f32>, start: Vec<f32>) -> Self {
        let count = start.len() / manifest.latent_dim;
        let step_size = manifest
            .langevin
            .step_size
            .min(STABLE_STEP * manifest.sigma);
        let mut rows = StepRows::new(manifest, count);
        rows.x = x;
        rows.step_size.fill(step_size);
        Self {
            rows,
            noise: (0..count as u32)
                .map(|row| ChainNoise::new(SEED, row))
                .collect(),
            start,
        }
    }

    /// Chains of all rows from N(0, I), of x that is the same in every row.
    pub fn of_equal_images(manifest: &Manifest, rows: usize) -> Self {
        let mut start = vec![0.0; rows * manifest.latent_dim];
        let latents = start.chunks_mut(manifest.latent_dim);
        for (row, z) in (0..).zip(latents) {
            ChainNoise::new(SEED, row).initial(z);
        }
        let x = StepRows::new(manifest, rows).x;
        Self::new(manifest, x, start)
    }

    /// The runs of K steps and of the densities at their end: K + 1 of them.
    ///
    /// # Errors
    /// When a run fails.
    pub fn follow(&mut self, posterior: &mut PosteriorStep) -> Result<Vec<Run>, RuntimeError> {
        let mut z = self.start.clone();
        let mut runs = Vec::with_capacity(STEPS as usize + 1);
        for step in 0..=STEPS {
            let run = self.run(posterior, step, &z)?;
            z.clone_from(&run.z_next);
            runs.push(run);
        }
        Ok(runs)
    }

    /// Runs of single steps, each from where the chains of `runs` were.
    ///
    /// # Errors
    /// When a run fails.
    pub fn single_steps(
        &mut self,
        posterior: &mut PosteriorStep,
        runs: &[Run],
    ) -> Result<Vec<Run>, RuntimeError> {
        let start = self.start.clone();
        let before = runs.iter().map(|run| &run.z_next);
        let from = std::iter::once(&start).chain(before);
        (0..=STEPS)
            .zip(from)
            .map(|(step, z)| self.run(posterior, step, z))
            .collect()
    }

    fn run(
        &mut self,
        posterior: &mut PosteriorStep,
        step: u32,
        z: &[f32],
    ) -> Result<Run, RuntimeError> {
        let rows = &mut self.rows;
        rows.z.copy_from_slice(z);
        let d = rows.z.len() / self.noise.len().max(1);
        for (noise, values) in self.noise.iter().zip(rows.noise.chunks_mut(d.max(1))) {
            noise.step(step, values);
        }
        rows.step(posterior)?;
        Ok(Run {
            z_next: rows.z_next.clone(),
            log_prior: rows.log_prior.clone(),
            log_likelihood: rows.log_likelihood.clone(),
        })
    }
}
