//! The rows of a worker's batch, in the arrays that the graph takes.

use lfbm_bundle::inference::ChainScore;
use lfbm_bundle::manifest::Langevin;
use lfbm_bundle::noise::ChainNoise;
use lfbm_bundle::pixels;
use lfbm_bundle::runtime::{RuntimeError, StepInputs, StepOutputs};

use super::Job;
use super::engine::{Graphs, Sizes};
use super::queue::JobId;
use crate::request::Priority;

/// What a row is, besides its part of the arrays.
pub(super) struct Row {
    pub(super) job: JobId,
    pub(super) chain: u32,
    pub(super) priority: Priority,
    langevin: Langevin,
    noise: ChainNoise,
    /// Langevin steps taken.
    step: u32,
    /// Steps since the chain entered the batch, the last time if it did several times.
    pub(super) stay: u32,
    /// Whether g(z_K) is wanted.
    reconstruct: bool,
}

/// A suspended chain. Noise is counter-based, so this is its whole state.
pub(super) struct Suspended {
    pub(super) chain: u32,
    step: u32,
    z: Vec<f32>,
}

/// A chain that waits for a row.
pub(super) enum QueuedChain {
    /// The job's chain of that number, which has not begun.
    New(u32),
    /// One that continues.
    Suspended(Suspended),
}

/// A chain that has taken its last step.
pub(super) struct Finished {
    pub(super) job: JobId,
    pub(super) chain: u32,
    pub(super) priority: Priority,
    pub(super) score: ChainScore,
    /// The image x, C H W, of a job's first chain.
    pub(super) x: Option<Vec<f32>>,
    /// g(z_K), C H W, if the job wants it.
    pub(super) reconstruction: Option<Vec<f32>>,
}

/// Row i of every array belongs to `rows[i]`; behind them lies what pads the batch.
pub(super) struct Batch {
    capacity: usize,
    sizes: Sizes,
    /// Sizes that are run, ascending; a batch is padded to the next of them.
    buckets: Vec<usize>,
    rows: Vec<Row>,
    /// How many of the rows, from the first, have their x and their start.
    prepared: usize,
    images: Vec<f32>,
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
    /// For at most `capacity` rows. Without `buckets` every size is run as it is.
    pub(super) fn new(capacity: usize, buckets: &[usize], sizes: Sizes) -> Self {
        let zeros = |row: usize| vec![0.0; capacity * row];
        Self {
            capacity,
            sizes,
            buckets: buckets.to_vec(),
            rows: Vec::with_capacity(capacity),
            prepared: 0,
            images: zeros(sizes.pixels),
            z: zeros(sizes.latent_dim),
            z_next: zeros(sizes.latent_dim),
            noise: zeros(sizes.latent_dim),
            x: zeros(sizes.pixels),
            mask: zeros(sizes.positions),
            step_size: zeros(1),
            noise_scale: zeros(1),
            log_prior: zeros(1),
            log_likelihood: zeros(1),
            reconstruction: Vec::new(),
        }
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Rows that a step of `rows` rows runs, with those that pad it: no more than there is room for.
    pub(super) fn padded(&self, rows: usize) -> usize {
        let bucket = self.buckets.iter().find(|bucket| **bucket >= rows);
        bucket.map_or(rows, |bucket| (*bucket).min(self.capacity))
    }

    /// Adds a chain of a job; the batch must not be full.
    pub(super) fn push(&mut self, id: JobId, job: &Job, chain: &QueuedChain) {
        let row = self.rows.len();
        let Sizes {
            pixels,
            positions,
            latent_dim: d,
        } = self.sizes;
        let image = &mut self.images[row * pixels..][..pixels];
        let visible = &mut self.mask[row * positions..][..positions];
        image.copy_from_slice(&job.image);
        match &job.mask {
            None => visible.fill(1.0),
            Some(mask) => {
                visible.copy_from_slice(mask);
                // Contrast is a matter of every pixel, and hidden ones must not tell.
                pixels::hide(image, mask);
            }
        }
        let (chain, step) = match chain {
            QueuedChain::New(chain) => (*chain, 0),
            QueuedChain::Suspended(Suspended { chain, step, z }) => {
                self.z[row * d..][..d].copy_from_slice(z);
                (*chain, *step)
            }
        };
        self.step_size[row] = job.langevin.step_size;
        self.rows.push(Row {
            job: id,
            chain,
            priority: job.priority,
            langevin: job.langevin,
            noise: ChainNoise::new(job.seed, chain),
            step,
            stay: 0,
            reconstruct: job.reconstruct,
        });
    }

    /// Makes x of the images that came with [`Batch::push`], and of new chains' noise their
    /// starts, each in one run.
    pub(super) fn prepare(&mut self, graphs: &mut impl Graphs) -> Result<(), RuntimeError> {
        let Sizes {
            pixels,
            latent_dim: d,
            ..
        } = self.sizes;
        let fresh = self.prepared..self.rows.len();
        if fresh.is_empty() {
            return Ok(());
        }
        let images = fresh.start * pixels..fresh.end * pixels;
        let x = &mut self.x[images.clone()];
        graphs.preprocess(fresh.len(), &self.images[images], x)?;
        // Suspended chains come between new ones, so all are run and theirs are not taken.
        let latents = fresh.start * d..fresh.end * d;
        for row in fresh.clone() {
            graphs.draw_start(&self.rows[row].noise, &mut self.noise[row * d..][..d]);
        }
        let starts = &mut self.z_next[latents.clone()];
        graphs.start(fresh.len(), x, &self.noise[latents], starts)?;
        for row in fresh.filter(|&row| self.rows[row].step == 0) {
            let start = row * d..(row + 1) * d;
            self.z[start.clone()].copy_from_slice(&self.z_next[start]);
        }
        self.prepared = self.rows.len();
        Ok(())
    }

    /// Removes a row whose chain is to go on later.
    pub(super) fn suspend(&mut self, row: usize) -> Suspended {
        let d = self.sizes.latent_dim;
        let suspended = Suspended {
            chain: self.rows[row].chain,
            step: self.rows[row].step,
            z: self.z[row * d..][..d].to_vec(),
        };
        self.remove(row);
        suspended
    }

    /// Takes one step of every row; chains that end with it leave.
    pub(super) fn step(
        &mut self,
        graphs: &mut impl Graphs,
        finished: &mut Vec<Finished>,
    ) -> Result<(), RuntimeError> {
        let d = self.sizes.latent_dim;
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
        let reconstruct = |row: &Row| row.reconstruct && row.ends();
        let reconstruct = self.rows.iter().any(reconstruct);
        self.run(graphs, self.padded(self.rows.len()), reconstruct)?;
        for row in (0..self.rows.len()).rev() {
            let present = row * d..(row + 1) * d;
            // The run after the last step gave the densities at its latent.
            if self.rows[row].ends() {
                finished.push(self.finish(row));
                self.remove(row);
            } else {
                let state = &mut self.rows[row];
                state.step += 1;
                state.stay += 1;
                self.z[present.clone()].copy_from_slice(&self.z_next[present]);
            }
        }
        Ok(())
    }

    /// Runs the graphs that chains need, besides `preprocess.onnx`, over the first `rows` rows,
    /// whatever is in them.
    pub(super) fn warm_up(
        &mut self,
        graphs: &mut impl Graphs,
        rows: usize,
    ) -> Result<(), RuntimeError> {
        let Sizes {
            pixels,
            latent_dim: d,
            ..
        } = self.sizes;
        let starts = &mut self.z_next[..rows * d];
        graphs.start(
            rows,
            &self.x[..rows * pixels],
            &self.noise[..rows * d],
            starts,
        )?;
        self.run(graphs, rows, true)
    }

    /// Runs the graph over the first `rows` rows, whatever is in them.
    pub(super) fn run(
        &mut self,
        graphs: &mut impl Graphs,
        rows: usize,
        reconstruct: bool,
    ) -> Result<(), RuntimeError> {
        let Sizes {
            pixels,
            positions,
            latent_dim: d,
        } = self.sizes;
        if reconstruct {
            self.reconstruction.resize(self.capacity * pixels, 0.0);
        }
        graphs.step(
            rows,
            StepInputs {
                z: &self.z[..rows * d],
                x: &self.x[..rows * pixels],
                mask: &self.mask[..rows * positions],
                noise: &self.noise[..rows * d],
                step_size: &self.step_size[..rows],
                noise_scale: &self.noise_scale[..rows],
            },
            StepOutputs {
                z_next: &mut self.z_next[..rows * d],
                log_prior: &mut self.log_prior[..rows],
                log_likelihood: &mut self.log_likelihood[..rows],
                reconstruction: reconstruct.then(|| &mut self.reconstruction[..rows * pixels]),
            },
        )
    }

    fn finish(&self, row: usize) -> Finished {
        let Sizes {
            pixels,
            latent_dim: d,
            ..
        } = self.sizes;
        let state = &self.rows[row];
        let image = row * pixels..(row + 1) * pixels;
        Finished {
            job: state.job,
            chain: state.chain,
            priority: state.priority,
            score: ChainScore {
                log_prior: self.log_prior[row].into(),
                log_likelihood: self.log_likelihood[row].into(),
                z: self.z[row * d..][..d].to_vec(),
            },
            x: (state.chain == 0).then(|| self.x[image.clone()].to_vec()),
            reconstruction: state
                .reconstruct
                .then(|| self.reconstruction[image].to_vec()),
        }
    }

    /// Removes a row; the last one takes its place. Every row must be prepared.
    pub(super) fn remove(&mut self, row: usize) {
        let last = self.rows.len() - 1;
        self.rows.swap_remove(row);
        self.prepared = self.rows.len();
        if row == last {
            return;
        }
        self.step_size[row] = self.step_size[last];
        for (array, width) in [
            (&mut self.z, self.sizes.latent_dim),
            (&mut self.x, self.sizes.pixels),
            (&mut self.mask, self.sizes.positions),
        ] {
            array.copy_within(last * width..(last + 1) * width, row * width);
        }
    }
}

impl Row {
    fn ends(&self) -> bool {
        self.step == self.langevin.steps
    }

    /// Runs of the graph that its chain needs yet.
    pub(super) fn runs_left(&self) -> u64 {
        u64::from(self.langevin.steps - self.step) + 1
    }
}
