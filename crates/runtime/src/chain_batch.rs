//! Langevin chains, many at a time: the one place where chains are stepped, for serving, evaluation
//! and calibration alike.

use lfbm_bundle::manifest::Langevin;
use lfbm_detector::ChainScore;
use lfbm_model::pixels;

use crate::chain::{Chain, ChainModel, ChainSizes, EndedChain, Suspended};
use crate::error::RuntimeError;
use crate::noise::ChainNoise;
use crate::posterior_step::{StepInputs, StepOutputs};

/// What a row is, besides its part of the arrays.
struct Row<T> {
    tag: T,
    langevin: Langevin,
    noise: ChainNoise,
    /// Langevin steps taken.
    step: u32,
    /// Steps since the chain last entered a batch.
    stay: u32,
    keep_x: bool,
    reconstruct: bool,
}

impl<T> Row<T> {
    fn ends(&self) -> bool {
        self.step == self.langevin.steps
    }
}

/// Chains that are stepped together, each with a `tag` of the caller's. Rows do not depend on each
/// other, so chains with different settings share a batch.
///
/// Row i of every array belongs to `rows[i]`; behind them lies what pads the batch.
pub struct ChainBatch<T> {
    capacity: usize,
    sizes: ChainSizes,
    /// Sizes that are run, ascending; a batch is padded to the next of them.
    buckets: Vec<usize>,
    rows: Vec<Row<T>>,
    /// How many of the rows, from the first, have their x and their start.
    prepared: usize,
    /// Empty where images have sites.
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

impl<T> ChainBatch<T> {
    /// For at most `capacity` rows. Without `buckets` every size is run as it is.
    pub fn new(capacity: usize, buckets: &[usize], sizes: ChainSizes) -> Self {
        let zeros = |row: usize| vec![0.0; capacity * row];
        Self {
            capacity,
            sizes,
            buckets: buckets.to_vec(),
            rows: Vec::with_capacity(capacity),
            prepared: 0,
            images: zeros(if sizes.sites.is_none() {
                sizes.values
            } else {
                0
            }),
            z: zeros(sizes.latent_dim),
            z_next: zeros(sizes.latent_dim),
            noise: zeros(sizes.latent_dim),
            x: zeros(sizes.values),
            mask: zeros(sizes.positions),
            step_size: zeros(1),
            noise_scale: zeros(1),
            log_prior: zeros(1),
            log_likelihood: zeros(1),
            reconstruction: Vec::new(),
        }
    }

    /// How many chains are in it.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The tag of the chain in a row.
    pub fn tag(&self, row: usize) -> &T {
        &self.rows[row].tag
    }

    /// Steps that the chain in a row has taken since it last entered a batch.
    pub fn stay(&self, row: usize) -> u32 {
        self.rows[row].stay
    }

    /// Runs of the graph that the chain in a row needs yet.
    pub fn runs_left(&self, row: usize) -> u64 {
        let row = &self.rows[row];
        u64::from(row.langevin.steps - row.step) + 1
    }

    /// Rows that a step of `rows` rows runs, with those that pad it: no more than there is room for.
    pub fn padded(&self, rows: usize) -> usize {
        let bucket = self.buckets.iter().find(|bucket| **bucket >= rows);
        bucket.map_or(rows, |bucket| (*bucket).min(self.capacity))
    }

    /// Adds a chain, at its start or where it was suspended; the batch must not be full.
    pub fn push(&mut self, tag: T, chain: Chain<'_>, suspended: Option<&Suspended>) {
        let row = self.rows.len();
        let ChainSizes {
            values,
            positions,
            latent_dim: d,
            sites,
        } = self.sizes;
        let inputs = match sites {
            None => &mut self.images,
            Some(_) => &mut self.x,
        };
        let input = &mut inputs[row * values..][..values];
        let visible = &mut self.mask[row * positions..][..positions];
        input.copy_from_slice(chain.input);
        match chain.mask {
            None => visible.fill(1.0),
            Some(mask) => {
                visible.copy_from_slice(mask);
                // Contrast is computed from all pixels, so hidden ones are blanked before.
                pixels::hide(input, mask);
            }
        }
        if let Some(suspended) = suspended {
            self.z[row * d..][..d].copy_from_slice(&suspended.z);
        }
        self.step_size[row] = chain.langevin.step_size;
        self.rows.push(Row {
            tag,
            langevin: chain.langevin,
            noise: ChainNoise::of_site(chain.seed, chain.site, chain.number),
            step: suspended.map_or(0, |suspended| suspended.step),
            stay: 0,
            keep_x: chain.keep_x,
            reconstruct: chain.reconstruct,
        });
    }

    /// Preprocesses the whole images that [`push`](Self::push) added in one run, and computes the starts of
    /// new chains in another.
    ///
    /// # Errors
    /// When a run fails.
    pub fn prepare(&mut self, model: &mut impl ChainModel) -> Result<(), RuntimeError> {
        let ChainSizes {
            values,
            latent_dim: d,
            sites,
            ..
        } = self.sizes;
        let fresh = self.prepared..self.rows.len();
        if fresh.is_empty() {
            return Ok(());
        }
        let inputs = fresh.start * values..fresh.end * values;
        let x = &mut self.x[inputs.clone()];
        if sites.is_none() {
            model.preprocess(fresh.len(), &self.images[inputs], x)?;
        }
        // Suspended chains lie between new ones: starts are computed for all, and kept for new chains.
        let latents = fresh.start * d..fresh.end * d;
        for row in fresh.clone() {
            model.draw_start(&self.rows[row].noise, &mut self.noise[row * d..][..d]);
        }
        let starts = &mut self.z_next[latents.clone()];
        model.start(fresh.len(), x, &self.noise[latents], starts)?;
        for row in fresh.filter(|&row| self.rows[row].step == 0) {
            let start = row * d..(row + 1) * d;
            self.z[start.clone()].copy_from_slice(&self.z_next[start]);
        }
        self.prepared = self.rows.len();
        Ok(())
    }

    /// Takes one step of every row; chains that end with it leave for `ended`. Every row must be
    /// prepared.
    ///
    /// # Errors
    /// When the run fails.
    pub fn step(
        &mut self,
        model: &mut impl ChainModel,
        ended: &mut Vec<EndedChain<T>>,
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
        let reconstruct = self.rows.iter().any(|row| row.reconstruct && row.ends());
        self.run(model, self.padded(self.rows.len()), reconstruct)?;
        for row in (0..self.rows.len()).rev() {
            // The run after the last step gave the densities at its latent.
            if self.rows[row].ends() {
                let end = self.end(row);
                ended.push(end);
            } else {
                let state = &mut self.rows[row];
                state.step += 1;
                state.stay += 1;
                let present = row * d..(row + 1) * d;
                self.z[present.clone()].copy_from_slice(&self.z_next[present]);
            }
        }
        Ok(())
    }

    /// Runs every graph of a chain but `preprocess.onnx` once over the first `rows` rows, whose values do
    /// not matter.
    ///
    /// # Errors
    /// When a run fails.
    pub fn warm_up(
        &mut self,
        model: &mut impl ChainModel,
        rows: usize,
    ) -> Result<(), RuntimeError> {
        let ChainSizes {
            values,
            latent_dim: d,
            ..
        } = self.sizes;
        let starts = &mut self.z_next[..rows * d];
        model.start(
            rows,
            &self.x[..rows * values],
            &self.noise[..rows * d],
            starts,
        )?;
        self.run(model, rows, true)
    }

    /// Runs the graph over the first `rows` rows, whatever is in them.
    ///
    /// # Errors
    /// When the run fails.
    pub fn run(
        &mut self,
        model: &mut impl ChainModel,
        rows: usize,
        reconstruct: bool,
    ) -> Result<(), RuntimeError> {
        let ChainSizes {
            values,
            positions,
            latent_dim: d,
            ..
        } = self.sizes;
        if reconstruct {
            self.reconstruction.resize(self.capacity * values, 0.0);
        }
        model.step(
            rows,
            StepInputs {
                z: &self.z[..rows * d],
                x: &self.x[..rows * values],
                mask: &self.mask[..rows * positions],
                noise: &self.noise[..rows * d],
                step_size: &self.step_size[..rows],
                noise_scale: &self.noise_scale[..rows],
            },
            StepOutputs {
                z_next: &mut self.z_next[..rows * d],
                log_prior: &mut self.log_prior[..rows],
                log_likelihood: &mut self.log_likelihood[..rows],
                reconstruction: reconstruct.then(|| &mut self.reconstruction[..rows * values]),
            },
        )
    }

    /// Removes a row whose chain is to go on later.
    pub fn suspend(&mut self, row: usize) -> (T, Suspended) {
        let d = self.sizes.latent_dim;
        let suspended = Suspended {
            step: self.rows[row].step,
            z: self.z[row * d..][..d].to_vec(),
        };
        (self.remove(row), suspended)
    }

    /// Removes a row; the last one takes its place. Every row must be prepared.
    pub fn remove(&mut self, row: usize) -> T {
        let last = self.rows.len() - 1;
        let removed = self.rows.swap_remove(row);
        self.prepared = self.rows.len();
        if row < last {
            self.step_size[row] = self.step_size[last];
            for (array, width) in [
                (&mut self.z, self.sizes.latent_dim),
                (&mut self.x, self.sizes.values),
                (&mut self.mask, self.sizes.positions),
            ] {
                array.copy_within(last * width..(last + 1) * width, row * width);
            }
        }
        removed.tag
    }

    /// Removes a row whose chain has ended.
    fn end(&mut self, row: usize) -> EndedChain<T> {
        let ChainSizes {
            values,
            latent_dim: d,
            ..
        } = self.sizes;
        let state = &self.rows[row];
        let x_of_row = row * values..(row + 1) * values;
        let x = state.keep_x.then(|| self.x[x_of_row.clone()].to_vec());
        let wanted = state.reconstruct;
        let reconstruction = wanted.then(|| self.reconstruction[x_of_row].to_vec());
        let score = ChainScore {
            log_prior: self.log_prior[row].into(),
            log_likelihood: self.log_likelihood[row].into(),
            z: self.z[row * d..][..d].to_vec(),
        };
        EndedChain {
            score,
            x,
            reconstruction,
            tag: self.remove(row),
        }
    }
}
