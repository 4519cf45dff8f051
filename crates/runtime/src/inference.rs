//! Short-run Langevin inference for a set of images: what `trainer evaluate` reports.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use lfbm_bundle::manifest::{Langevin, Manifest};
use lfbm_detector::{ChainScore, Score, aggregate};
use lfbm_model::{ImageSpec, pixels};

use crate::chain_graphs::ChainGraphs;
use crate::error::RuntimeError;
use crate::library::Runtime;
use crate::noise::ChainNoise;
use crate::options::SessionOptions;
use crate::posterior_step::{StepInputs, StepOutputs};
use crate::sampler::Sampler;

/// Seed of the scores in reports and calibrations, and of served scores that name none.
pub const SCORE_SEED: u64 = 0;

/// Chains that run together on a thread at most.
const ROWS: usize = 256;

/// A bundle's graphs, open.
pub struct Inference {
    /// One a thread.
    lanes: Vec<Lane>,
    sampler: Sampler,
    image: ImageSpec,
}

/// What one thread runs chains with.
struct Lane {
    graphs: ChainGraphs,
    image: ImageSpec,
    latent_dim: usize,
}

/// Images, each with the same number of chains; row r is a chain of image r / chains.
#[derive(Clone, Copy)]
struct Rows<'a> {
    images: &'a [f32],
    masks: Option<&'a [f32]>,
    langevin: &'a Langevin,
    chains: usize,
    seed: u64,
}

impl Inference {
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
        let lanes = ChainGraphs::open(runtime, dir, manifest, options)?;
        let lanes = lanes.into_iter().map(|graphs| Lane {
            graphs,
            image: manifest.image,
            latent_dim: manifest.latent_dim,
        });
        Ok(Self {
            lanes: lanes.collect(),
            sampler: Sampler::open(runtime, dir, manifest, options)?,
            image: manifest.image,
        })
    }

    /// The images that the model is for.
    pub fn image(&self) -> &ImageSpec {
        &self.image
    }

    /// Scores `images`, n x C H W intensities in [0, 1], every one under the same `seed`, as a
    /// server does that gets them one by one. `progress` is told how many are done.
    ///
    /// # Errors
    /// When a run fails.
    pub fn score(
        &mut self,
        images: &[f32],
        langevin: &Langevin,
        seed: u64,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Score>, RuntimeError> {
        let chains = self.chains(images, None, langevin, seed, progress)?;
        let scores = chains
            .iter()
            .map(|of_image| aggregate(of_image, langevin.aggregation));
        Ok(scores.flatten().collect())
    }

    /// The chains of each of `images`, as [`score`](Self::score) runs them. `masks`, n x H W with 1
    /// for a visible pixel and 0 for a hidden one, hides pixels, which then change nothing.
    ///
    /// # Errors
    /// When a run fails.
    pub fn chains(
        &mut self,
        images: &[f32],
        masks: Option<&[f32]>,
        langevin: &Langevin,
        seed: u64,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Vec<Vec<ChainScore>>, RuntimeError> {
        let chains = langevin.chains.max(1) as usize;
        let rows = Rows {
            images,
            masks,
            langevin,
            chains,
            seed,
        };
        let total = images.len() / self.image.pixels() * chains;
        let lanes = self.lanes.len();
        // As many for each lane, and as even as can be.
        let at_once = total
            .div_ceil(lanes * total.div_ceil(lanes * ROWS).max(1))
            .max(1);
        let batches = total.div_ceil(at_once);
        let next = &AtomicUsize::new(0);
        let mut ended = vec![Vec::new(); batches];
        thread::scope(|scope| {
            let (end, ends) = mpsc::channel();
            for lane in &mut self.lanes {
                let end = end.clone();
                scope.spawn(move || {
                    loop {
                        let batch = next.fetch_add(1, Ordering::Relaxed);
                        if batch >= batches {
                            break;
                        }
                        let first = batch * at_once;
                        let result = lane.run(first..total.min(first + at_once), rows);
                        // Nobody listens after a failure.
                        if end.send((batch, result)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(end);
            let mut done = 0;
            for (batch, result) in ends {
                ended[batch] = result?;
                done += ended[batch].len();
                progress(done / chains);
            }
            Ok(())
        })?;
        let mut ended = ended.into_iter().flatten();
        let of_image = |_| ended.by_ref().take(chains).collect();
        Ok((0..total / chains).map(of_image).collect())
    }

    /// x of `images`, n x C H W intensities in [0, 1].
    ///
    /// # Errors
    /// When the run fails.
    pub fn preprocess(&mut self, images: &[f32]) -> Result<Vec<f32>, RuntimeError> {
        self.lanes[0].preprocess(images)
    }

    /// g(z) of latents, n x d.
    ///
    /// # Errors
    /// When the run fails.
    pub fn reconstruct(&mut self, z: &[f32]) -> Result<Vec<f32>, RuntimeError> {
        self.sampler.generate(z)
    }

    /// `n` images from the prior: z0 ~ N(0, I), z = f(z0), g(z).
    ///
    /// # Errors
    /// When the run fails.
    pub fn sample_prior(&mut self, n: usize, seed: u64) -> Result<Vec<f32>, RuntimeError> {
        self.sampler.sample(n, seed)
    }
}

impl Lane {
    fn preprocess(&mut self, images: &[f32]) -> Result<Vec<f32>, RuntimeError> {
        let mut x = vec![0.0; images.len()];
        let n = images.len() / self.image.pixels();
        self.graphs.preprocess.run(n, images, &mut x)?;
        Ok(x)
    }

    /// Runs some of the rows from their images to their ends.
    fn run(&mut self, some: Range<usize>, rows: Rows<'_>) -> Result<Vec<ChainScore>, RuntimeError> {
        let Rows { chains, seed, .. } = rows;
        let (pixels, positions) = (self.image.pixels(), self.image.positions());
        let gather = |values: &[f32], size: usize| -> Vec<f32> {
            let of_row = |row| &values[row / chains * size..][..size];
            some.clone().flat_map(of_row).copied().collect()
        };
        let noise = some
            .clone()
            .map(|row| ChainNoise::new(seed, (row % chains) as u32));
        let noise: Vec<_> = noise.collect();
        let mut images = gather(rows.images, pixels);
        let mask = match rows.masks {
            None => vec![1.0; noise.len() * positions],
            Some(masks) => {
                let mask = gather(masks, positions);
                pixels::hide_all(&mut images, &mask, &self.image);
                mask
            }
        };
        let x = self.preprocess(&images)?;
        self.run_chains(&x, &mask, &noise, rows.langevin)
    }

    fn run_chains(
        &mut self,
        x: &[f32],
        mask: &[f32],
        noise: &[ChainNoise],
        langevin: &Langevin,
    ) -> Result<Vec<ChainScore>, RuntimeError> {
        let (rows, d) = (noise.len(), self.latent_dim);
        let step_size = vec![langevin.step_size; rows];
        let mut z = vec![0.0; rows * d];
        let mut z_next = vec![0.0; rows * d];
        let mut draw = vec![0.0; rows * d];
        let (mut log_prior, mut log_likelihood) = (vec![0.0; rows], vec![0.0; rows]);
        for (draw, noise) in draw.chunks_mut(d).zip(noise) {
            self.graphs.starts.draw(noise, draw);
        }
        self.graphs.starts.run(rows, x, &draw, &mut z)?;
        // One run more than there are steps: it gives the densities at the last latents.
        for step in 0..=langevin.steps {
            let noisy = step + langevin.noise_free_steps < langevin.steps;
            if noisy {
                for (draw, noise) in draw.chunks_mut(d).zip(noise) {
                    noise.step(step, draw);
                }
            }
            let noise_scale = vec![f32::from(u8::from(noisy)); rows];
            let inputs = StepInputs {
                z: &z,
                x,
                mask,
                noise: &draw,
                step_size: &step_size,
                noise_scale: &noise_scale,
            };
            let outputs = StepOutputs {
                z_next: &mut z_next,
                log_prior: &mut log_prior,
                log_likelihood: &mut log_likelihood,
                reconstruction: None,
            };
            self.graphs.posterior.run(rows, inputs, outputs)?;
            if step < langevin.steps {
                std::mem::swap(&mut z, &mut z_next);
            }
        }
        let densities = log_prior.iter().zip(&log_likelihood);
        Ok(z.chunks(d)
            .zip(densities)
            .map(|(z, (&log_prior, &log_likelihood))| ChainScore {
                log_prior: log_prior.into(),
                log_likelihood: log_likelihood.into(),
                z: z.to_vec(),
            })
            .collect())
    }
}
