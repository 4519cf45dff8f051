//! The rows of the running batch, in arrays that lie as the graph wants them.

use lfbm_bundle::inference::ChainScore;
use lfbm_bundle::manifest::Langevin;
use lfbm_bundle::noise::ChainNoise;
use lfbm_bundle::runtime::{PosteriorStep, RuntimeError, StepInputs, StepOutputs};

/// A job's number.
pub(super) type JobId = u64;

struct Row {
    job: JobId,
    chain: u32,
    langevin: Langevin,
    noise: ChainNoise,
    /// Langevin steps taken.
    step: u32,
    /// Whether g(z_K) is wanted.
    reconstruct: bool,
}

/// A chain that has left the batch.
pub(super) struct Finished {
    pub(super) job: JobId,
    pub(super) chain: u32,
    pub(super) score: ChainScore,
    /// g(z_K), if it was wanted.
    pub(super) reconstruction: Option<Vec<f32>>,
}

/// A chain that enters the batch.
pub(super) struct Entrant<'a> {
    pub(super) job: JobId,
    pub(super) chain: u32,
    /// The preprocessed image.
    pub(super) x: &'a [f32],
    /// `None` where every pixel is visible.
    pub(super) mask: Option<&'a [f32]>,
    pub(super) langevin: Langevin,
    pub(super) seed: u64,
    pub(super) reconstruct: bool,
}

/// Row i of every array belongs to `rows[i]`.
pub(super) struct Batch {
    capacity: usize,
    pixels: usize,
    positions: usize,
    latent_dim: usize,
    rows: Vec<Row>,
    z: Vec<f32>,
    z_next: Vec<f32>,
    noise: Vec<f32>,
    x: Vec<f32>,
    mask: Vec<f32>,
    step_size: Vec<f32>,
    noise_scale: Vec<f32>,
    log_prior: Vec<f32>,
    log_likelihood: Vec<f32>,
    /// Empty until a row asks for it.
    reconstruction: Vec<f32>,
}

impl Batch {
    pub(super) fn new(capacity: usize, pixels: usize, positions: usize, latent_dim: usize) -> Self {
        let zeros = |row: usize| vec![0.0; capacity * row];
        Self {
            capacity,
            pixels,
            positions,
            latent_dim,
            rows: Vec::with_capacity(capacity),
            z: zeros(latent_dim),
            z_next: zeros(latent_dim),
            noise: zeros(latent_dim),
            x: zeros(pixels),
            mask: zeros(positions),
            step_size: zeros(1),
            noise_scale: zeros(1),
            log_prior: zeros(1),
            log_likelihood: zeros(1),
            reconstruction: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.len() == self.capacity
    }

    /// Adds a chain; the batch must not be full.
    pub(super) fn push(&mut self, entrant: Entrant<'_>) {
        let Entrant {
            job,
            chain,
            x,
            mask,
            langevin,
            seed,
            reconstruct,
        } = entrant;
        let (row, d) = (self.rows.len(), self.latent_dim);
        let noise = ChainNoise::new(seed, chain);
        self.x[row * self.pixels..][..self.pixels].copy_from_slice(x);
        let visible = &mut self.mask[row * self.positions..][..self.positions];
        match mask {
            Some(mask) => visible.copy_from_slice(mask),
            None => visible.fill(1.0),
        }
        noise.initial(&mut self.z[row * d..][..d]);
        self.step_size[row] = langevin.step_size;
        self.rows.push(Row {
            job,
            chain,
            langevin,
            noise,
            step: 0,
            reconstruct,
        });
    }

    /// Removes the chains of jobs that `keep` does not hold for.
    pub(super) fn retain(&mut self, keep: impl Fn(JobId) -> bool) {
        for row in (0..self.rows.len()).rev() {
            if !keep(self.rows[row].job) {
                self.remove(row);
            }
        }
    }

    /// Takes one step of every row; chains that end with it leave.
    pub(super) fn step(
        &mut self,
        posterior: &mut PosteriorStep,
        mut finished: impl FnMut(Finished),
    ) -> Result<(), RuntimeError> {
        let (rows, d) = (self.rows.len(), self.latent_dim);
        let draws = self.noise.chunks_exact_mut(d).zip(&mut self.noise_scale);
        for (row, (noise, noise_scale)) in self.rows.iter().zip(draws) {
            let Langevin {
                steps,
                noise_free_steps,
                ..
            } = row.langevin;
            let noisy = row.step + noise_free_steps < steps;
            *noise_scale = f32::from(u8::from(noisy));
            if noisy {
                row.noise.step(row.step, noise);
            }
        }
        let ends = |row: &Row| row.step == row.langevin.steps;
        let reconstruct = self.rows.iter().any(|row| row.reconstruct && ends(row));
        if reconstruct {
            self.reconstruction.resize(self.capacity * self.pixels, 0.0);
        }
        posterior.run(
            rows,
            StepInputs {
                z: &self.z[..rows * d],
                x: &self.x[..rows * self.pixels],
                mask: &self.mask[..rows * self.positions],
                noise: &self.noise[..rows * d],
                step_size: &self.step_size[..rows],
                noise_scale: &self.noise_scale[..rows],
            },
            StepOutputs {
                z_next: &mut self.z_next[..rows * d],
                log_prior: &mut self.log_prior[..rows],
                log_likelihood: &mut self.log_likelihood[..rows],
                reconstruction: reconstruct.then(|| &mut self.reconstruction[..rows * self.pixels]),
            },
        )?;
        for row in (0..rows).rev() {
            let present = row * d..(row + 1) * d;
            let state = &mut self.rows[row];
            // The run after the last step gave the densities at its latent.
            if ends(state) {
                let score = ChainScore {
                    log_prior: self.log_prior[row].into(),
                    log_likelihood: self.log_likelihood[row].into(),
                    z: self.z[present].to_vec(),
                };
                let image = row * self.pixels..(row + 1) * self.pixels;
                finished(Finished {
                    job: state.job,
                    chain: state.chain,
                    score,
                    reconstruction: state
                        .reconstruct
                        .then(|| self.reconstruction[image].to_vec()),
                });
                self.remove(row);
            } else {
                state.step += 1;
                self.z[present.clone()].copy_from_slice(&self.z_next[present]);
            }
        }
        Ok(())
    }

    /// Removes a row; the last one takes its place.
    fn remove(&mut self, row: usize) {
        let last = self.rows.len() - 1;
        self.rows.swap_remove(row);
        if row == last {
            return;
        }
        self.step_size[row] = self.step_size[last];
        for (array, width) in [
            (&mut self.z, self.latent_dim),
            (&mut self.x, self.pixels),
            (&mut self.mask, self.positions),
        ] {
            array.copy_within(last * width..(last + 1) * width, row * width);
        }
    }
}
