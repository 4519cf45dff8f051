//! One Langevin step: `posterior.onnx`.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::session::{HasSelectedOutputs, RunOptions};

use super::session::{Graph, Input, Output, image_row};
use super::{Device, Runtime, RuntimeError, SessionOptions};
use crate::manifest::Manifest;
use crate::onnx::{self, Dim};

/// What a thread's core keeps at hand. Runs of more rows than fit take up to 1.4 times as long a
/// row.
const CACHE_BYTES: usize = 5 << 19;
/// Matrix products gain nothing from more rows than these.
const MAX_ROWS_PER_RUN: usize = 64;

/// What a Langevin step reads; see [`posterior_graph`](crate::posterior::posterior_graph).
#[derive(Clone, Copy, Debug)]
pub struct StepInputs<'a> {
    /// Latents, rows x d.
    pub z: &'a [f32],
    /// Preprocessed images, rows x C H W.
    pub x: &'a [f32],
    /// 1 where a pixel is visible, rows x H W.
    pub mask: &'a [f32],
    /// Standard normal noise, rows x d.
    pub noise: &'a [f32],
    /// Step size s, rows.
    pub step_size: &'a [f32],
    /// 1, or 0 for a step without noise, rows.
    pub noise_scale: &'a [f32],
}

/// What a Langevin step writes.
#[derive(Debug)]
pub struct StepOutputs<'a> {
    /// Latents after the step, rows x d.
    pub z_next: &'a mut [f32],
    /// log p(z) before the step, rows.
    pub log_prior: &'a mut [f32],
    /// log p(x|z) before the step, rows.
    pub log_likelihood: &'a mut [f32],
    /// g(z) before the step, rows x C H W, if wanted.
    pub reconstruction: Option<&'a mut [f32]>,
}

/// One Langevin step: `posterior.onnx`.
///
/// On the processor, threads share rows and not operators: each has a session of its own. Rows do
/// not depend on each other, so that threads meet once a step instead of once an operator.
pub struct PosteriorStep {
    lanes: Vec<Lane>,
    rows_per_run: usize,
}

impl PosteriorStep {
    /// Opens the graph of the bundle in `dir`, once a thread.
    ///
    /// # Errors
    /// When ONNX Runtime refuses the graph, or the device cannot be had.
    pub fn open(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        let (lanes, rows_per_run) = match options.device {
            Device::Cpu => (options.threads(), rows_in_cache(dir)?),
            Device::Cuda { .. } | Device::TensorRt { .. } => (1, usize::MAX),
        };
        let own_thread = SessionOptions {
            threads: 1,
            ..*options
        };
        let lanes = (0..lanes)
            .map(|_| Lane::open(runtime, dir, manifest, &own_thread))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            lanes,
            rows_per_run,
        })
    }

    /// Takes one step of `rows` rows.
    ///
    /// # Errors
    /// When a slice's length does not fit `rows`, or the run fails.
    pub fn run(
        &mut self,
        rows: usize,
        inputs: StepInputs<'_>,
        outputs: StepOutputs<'_>,
    ) -> Result<(), RuntimeError> {
        let all = Slice {
            rows,
            inputs,
            outputs,
        };
        let Some((first, others)) = self.lanes.split_first_mut() else {
            return Ok(());
        };
        let share = rows.div_ceil(others.len() + 1);
        let at_once = share.clamp(1, self.rows_per_run);
        if at_once >= rows {
            return first.run(all);
        }
        let work = Mutex::new(Work {
            rest: Some(all),
            at_once,
            failure: None,
        });
        rayon::in_place_scope(|scope| {
            for lane in others {
                scope.spawn(|_| lane.work_off(&work));
            }
            first.work_off(&work);
        });
        let work = work.into_inner().unwrap_or_else(PoisonError::into_inner);
        work.failure.map_or(Ok(()), Err)
    }
}

/// Rows whose largest operator's inputs and outputs fit [`CACHE_BYTES`].
fn rows_in_cache(dir: &Path) -> Result<usize, RuntimeError> {
    let path = dir.join("posterior.onnx");
    let bytes = std::fs::read(&path).map_err(|source| RuntimeError::File {
        path: path.clone(),
        source,
    })?;
    // Shapes are enough: the weights may be anything.
    let graph = onnx::decode(&bytes, &|_, _, length| Some(vec![0; length]));
    let graph = graph.map_err(|error| RuntimeError::Graph {
        graph: path.display().to_string(),
        reason: error.to_string(),
    })?;
    let values_a_row = |value| match graph.shape(value) {
        Ok([Dim::Batch, sizes @ ..]) => sizes
            .iter()
            .map(|size| match size {
                Dim::Batch => 1,
                Dim::Fixed(size) => *size,
            })
            .product(),
        _ => 0,
    };
    let largest = graph.nodes().iter().map(|node| {
        let values = node.inputs.iter().flatten().chain(&node.outputs);
        values.map(values_a_row).sum::<usize>()
    });
    let bytes_a_row = largest.max().unwrap_or(0).max(1) * size_of::<f32>();
    Ok((CACHE_BYTES / bytes_a_row).clamp(1, MAX_ROWS_PER_RUN))
}

/// Consecutive rows of a batch.
struct Slice<'a> {
    rows: usize,
    inputs: StepInputs<'a>,
    outputs: StepOutputs<'a>,
}

/// What is left to do of a step.
struct Work<'a> {
    rest: Option<Slice<'a>>,
    at_once: usize,
    failure: Option<RuntimeError>,
}

impl<'a> Slice<'a> {
    /// The first `count` rows, and the others if there are any.
    fn split(self, count: usize) -> (Self, Option<Self>) {
        if count >= self.rows {
            return (self, None);
        }
        let rows = self.rows;
        let at = |length: usize| length / rows * count;
        let cut = |values: &'a [f32]| values.split_at(at(values.len()));
        let cut_mut = |values: &'a mut [f32]| {
            let middle = at(values.len());
            values.split_at_mut(middle)
        };
        let StepInputs {
            z,
            x,
            mask,
            noise,
            step_size,
            noise_scale,
        } = self.inputs;
        let [z, x, mask, noise, step_size, noise_scale] =
            [z, x, mask, noise, step_size, noise_scale].map(cut);
        let z_next = cut_mut(self.outputs.z_next);
        let log_prior = cut_mut(self.outputs.log_prior);
        let log_likelihood = cut_mut(self.outputs.log_likelihood);
        let reconstruction = self.outputs.reconstruction.map(cut_mut).unzip();
        let first = Self {
            rows: count,
            inputs: StepInputs {
                z: z.0,
                x: x.0,
                mask: mask.0,
                noise: noise.0,
                step_size: step_size.0,
                noise_scale: noise_scale.0,
            },
            outputs: StepOutputs {
                z_next: z_next.0,
                log_prior: log_prior.0,
                log_likelihood: log_likelihood.0,
                reconstruction: reconstruction.0,
            },
        };
        let rest = Self {
            rows: rows - count,
            inputs: StepInputs {
                z: z.1,
                x: x.1,
                mask: mask.1,
                noise: noise.1,
                step_size: step_size.1,
                noise_scale: noise_scale.1,
            },
            outputs: StepOutputs {
                z_next: z_next.1,
                log_prior: log_prior.1,
                log_likelihood: log_likelihood.1,
                reconstruction: reconstruction.1,
            },
        };
        (first, Some(rest))
    }
}

impl<'a> Work<'a> {
    fn next(&mut self) -> Option<Slice<'a>> {
        let (next, rest) = self.rest.take()?.split(self.at_once);
        self.rest = rest;
        Some(next)
    }
}

/// A session, and what one thread needs to run it.
struct Lane {
    graph: Graph,
    latent_dim: usize,
    image: [usize; 3],
    densities: RunOptions<HasSelectedOutputs>,
    everything: RunOptions<HasSelectedOutputs>,
}

impl Lane {
    fn open(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        let graph = Graph::open(runtime, dir, "posterior", options)?;
        Ok(Self {
            densities: graph.select(&["z_next", "log_prior", "log_likelihood"])?,
            everything: graph.select(&[
                "z_next",
                "log_prior",
                "log_likelihood",
                "reconstruction",
            ])?,
            latent_dim: manifest.latent_dim,
            image: image_row(manifest),
            graph,
        })
    }

    fn run(
        &mut self,
        Slice {
            rows,
            inputs,
            outputs,
        }: Slice<'_>,
    ) -> Result<(), RuntimeError> {
        let latent = [self.latent_dim];
        let [_, height, width] = self.image;
        let options = if outputs.reconstruction.is_some() {
            &self.everything
        } else {
            &self.densities
        };
        self.graph.run(
            rows,
            [
                Input {
                    name: "z",
                    row: &latent,
                    values: inputs.z,
                },
                Input {
                    name: "x",
                    row: &self.image,
                    values: inputs.x,
                },
                Input {
                    name: "mask",
                    row: &[1, height, width],
                    values: inputs.mask,
                },
                Input {
                    name: "noise",
                    row: &latent,
                    values: inputs.noise,
                },
                Input {
                    name: "step_size",
                    row: &[],
                    values: inputs.step_size,
                },
                Input {
                    name: "noise_scale",
                    row: &[],
                    values: inputs.noise_scale,
                },
            ],
            [
                Some(Output {
                    name: "z_next",
                    values: outputs.z_next,
                }),
                Some(Output {
                    name: "log_prior",
                    values: outputs.log_prior,
                }),
                Some(Output {
                    name: "log_likelihood",
                    values: outputs.log_likelihood,
                }),
                outputs.reconstruction.map(|values| Output {
                    name: "reconstruction",
                    values,
                }),
            ],
            options,
        )
    }

    /// Takes rows until there are none.
    fn work_off(&mut self, work: &Mutex<Work<'_>>) {
        let lock = || work.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let next = lock().next();
            let Some(slice) = next else { return };
            if let Err(error) = self.run(slice) {
                let mut work = lock();
                work.rest = None;
                work.failure.get_or_insert(error);
            }
        }
    }
}
