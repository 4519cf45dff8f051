//! One Langevin step: `posterior.onnx`.

use std::path::Path;

use ort::session::{HasSelectedOutputs, RunOptions};

use crate::cuda_graph::CudaGraphs;
use crate::session::{Graph, Input, Output, check_length, image_row};
use lfbm_bundle::manifest::Manifest;
use lfbm_onnx::Dim;

use crate::device::Device;
use crate::error::RuntimeError;
use crate::library::Runtime;
use crate::noise::ChainNoise;
use crate::options::SessionOptions;

/// What a thread keeps at hand. Runs of more rows than fit take up to 1.4 times as long a row; with
/// fewer, layers read their weights more often.
const CACHE_BYTES: usize = 5 << 20;
/// Matrix products gain nothing from more rows than these.
const MAX_ROWS_PER_RUN: usize = 64;
/// How far a replay may be from the same step run as usual, as a share of the largest value.
const REPLAY_TOLERANCE: f32 = 1e-3;

/// What a Langevin step reads; see [`posterior_graph`](lfbm_model::posterior_graph).
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
/// On the CPU, rows are cut into runs that fit the cache.
pub struct PosteriorStep {
    /// Lies in the session's memory, so it goes before the session does.
    pub(super) cuda_graphs: Option<CudaGraphs>,
    graph: Graph,
    latent_dim: usize,
    image: [usize; 3],
    rows_per_run: usize,
    densities: RunOptions<HasSelectedOutputs>,
    everything: RunOptions<HasSelectedOutputs>,
}

impl PosteriorStep {
    /// Opens the graph of the bundle in `dir`.
    ///
    /// # Errors
    /// When ONNX Runtime refuses the graph, or the device cannot be had.
    pub fn open(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        let rows_per_run = rows_per_run(dir, options.device)?;
        Self::open_for(runtime, dir, manifest, options, rows_per_run)
    }

    /// The same, with what [`rows_per_run`] says of the bundle.
    pub(super) fn open_for(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        options: &SessionOptions,
        rows_per_run: usize,
    ) -> Result<Self, RuntimeError> {
        if options.cuda_graphs && matches!(options.device, Device::TensorRt { .. }) {
            return Err(RuntimeError::Device {
                device: options.device,
                reason: "it has no CUDA graphs here; ask for cuda, or turn cuda_graphs off".into(),
            });
        }
        let graph = Graph::open(runtime, dir, "posterior", options)?;
        Ok(Self {
            cuda_graphs: options.cuda_graphs.then(|| CudaGraphs::new(options.device)),
            rows_per_run,
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
        let [channels, height, width] = self.image;
        let (d, positions) = (self.latent_dim, height * width);
        let pixels = channels * positions;
        let StepInputs {
            z,
            x,
            mask,
            noise,
            step_size,
            noise_scale,
        } = inputs;
        let StepOutputs {
            z_next,
            log_prior,
            log_likelihood,
            mut reconstruction,
        } = outputs;
        for (what, length, row) in [
            ("z", z.len(), d),
            ("x", x.len(), pixels),
            ("mask", mask.len(), positions),
            ("noise", noise.len(), d),
            ("step_size", step_size.len(), 1),
            ("noise_scale", noise_scale.len(), 1),
            ("z_next", z_next.len(), d),
            ("log_prior", log_prior.len(), 1),
            ("log_likelihood", log_likelihood.len(), 1),
        ] {
            check_length("posterior", what, length, rows * row)?;
        }
        if let Some(reconstruction) = &reconstruction {
            let length = reconstruction.len();
            check_length("posterior", "reconstruction", length, rows * pixels)?;
        }
        // As even as can be: a run of few rows takes long for what it does.
        let runs = rows.div_ceil(self.rows_per_run).max(1);
        let at_once = rows.div_ceil(runs).max(1);
        for first in (0..rows).step_by(at_once) {
            let last = rows.min(first + at_once);
            let of = |row: usize| first * row..last * row;
            self.run_once(
                last - first,
                StepInputs {
                    z: &z[of(d)],
                    x: &x[of(pixels)],
                    mask: &mask[of(positions)],
                    noise: &noise[of(d)],
                    step_size: &step_size[of(1)],
                    noise_scale: &noise_scale[of(1)],
                },
                StepOutputs {
                    z_next: &mut z_next[of(d)],
                    log_prior: &mut log_prior[of(1)],
                    log_likelihood: &mut log_likelihood[of(1)],
                    reconstruction: reconstruction.as_mut().map(|all| &mut all[of(pixels)]),
                },
                false,
            )?;
        }
        Ok(())
    }

    /// Records a CUDA graph of the step of `rows` rows. From then on [`PosteriorStep::run`] replays
    /// it on the thread that recorded it, unless reconstructions are wanted. Nothing happens without
    /// [`SessionOptions::cuda_graphs`], or if it is recorded already.
    ///
    /// # Errors
    /// When it cannot be recorded, or when a replay of this or of a graph recorded before is not
    /// what the step gives.
    pub fn record(&mut self, rows: usize) -> Result<(), RuntimeError> {
        let Some(graphs) = &self.cuda_graphs else {
            return Ok(());
        };
        let mut sizes = graphs.sizes();
        if sizes.contains(&rows) {
            return Ok(());
        }
        let sample = Sample::new(self, rows, 0);
        self.sample_step(&sample, Way::Usual)?;
        self.sample_step(&sample, Way::Record)?;
        sizes.push(rows);
        // The others too: memory that they use between their launches is anybody's in between. Their
        // inputs are new, since stale ones would go unnoticed otherwise.
        let seed = sizes.len() as u64;
        sizes
            .into_iter()
            .try_for_each(|rows| self.check_replay(rows, seed))
    }

    fn check_replay(&mut self, rows: usize, seed: u64) -> Result<(), RuntimeError> {
        let sample = Sample::new(self, rows, seed);
        let expected = self.sample_step(&sample, Way::Usual)?;
        let got = self.sample_step(&sample, Way::Replay)?;
        let names = ["z_next", "log_prior", "log_likelihood"];
        for ((what, got), expected) in names.into_iter().zip(&got).zip(&expected) {
            if !agree(got, expected) {
                return Err(RuntimeError::CudaGraph { rows, what });
            }
        }
        Ok(())
    }

    /// `z_next` and both densities.
    fn sample_step(&mut self, sample: &Sample, way: Way) -> Result<[Vec<f32>; 3], RuntimeError> {
        let rows = sample.step_size.len();
        let mut outputs = [self.latent_dim, 1, 1].map(|width| vec![0.0; rows * width]);
        let [z_next, log_prior, log_likelihood] = &mut outputs;
        // What is recorded gives no reconstructions, so a step that does is run as usual.
        let mut reconstruction = (way == Way::Usual).then(|| vec![0.0; sample.x.len()]);
        let inputs = StepInputs {
            z: &sample.z,
            x: &sample.x,
            mask: &sample.mask,
            noise: &sample.noise,
            step_size: &sample.step_size,
            noise_scale: &sample.noise_scale,
        };
        let outputs_of_step = StepOutputs {
            z_next,
            log_prior,
            log_likelihood,
            reconstruction: reconstruction.as_deref_mut(),
        };
        self.run_once(rows, inputs, outputs_of_step, way == Way::Record)?;
        Ok(outputs)
    }

    fn run_once(
        &mut self,
        rows: usize,
        inputs: StepInputs<'_>,
        outputs: StepOutputs<'_>,
        record: bool,
    ) -> Result<(), RuntimeError> {
        let latent = [self.latent_dim];
        let [_, height, width] = self.image;
        let options = if outputs.reconstruction.is_some() {
            &self.everything
        } else {
            &self.densities
        };
        let inputs = [
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
        ];
        let outputs = [
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
        ];
        let Some(graphs) = &mut self.cuda_graphs else {
            return self.graph.run(rows, inputs, outputs, options);
        };
        let mut outputs: Vec<_> = outputs.into_iter().flatten().collect();
        if record {
            graphs.record(&mut self.graph, rows, &inputs, &mut outputs)
        } else {
            graphs.run(&mut self.graph, rows, &inputs, &mut outputs)
        }
    }
}

/// How [`PosteriorStep::sample_step`] takes a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Usual,
    Record,
    Replay,
}

/// Inputs of a step to compare replays with.
struct Sample {
    z: Vec<f32>,
    x: Vec<f32>,
    mask: Vec<f32>,
    noise: Vec<f32>,
    step_size: Vec<f32>,
    noise_scale: Vec<f32>,
}

impl Sample {
    fn new(step: &PosteriorStep, rows: usize, seed: u64) -> Self {
        let normal = |chain, row: usize| {
            let mut values = vec![0.0; rows * row];
            ChainNoise::new(seed, chain).initial(&mut values);
            values
        };
        let of =
            |chain, row, map: fn(f32) -> f32| normal(chain, row).into_iter().map(map).collect();
        let [channels, height, width] = step.image;
        Self {
            z: normal(0, step.latent_dim),
            x: of(1, channels * height * width, |v| v.abs().min(1.0)),
            mask: of(2, height * width, |v| f32::from(u8::from(v > 0.0))),
            noise: normal(3, step.latent_dim),
            step_size: of(4, 1, |v| 0.1 * v.abs().min(1.0)),
            noise_scale: of(5, 1, |v| v.abs().min(1.0)),
        }
    }
}

/// Whether `got` is `expected` within [`REPLAY_TOLERANCE`]; what is not finite must be the same.
fn agree(got: &[f32], expected: &[f32]) -> bool {
    let finite = expected.iter().filter(|value| value.is_finite());
    let largest = finite.fold(0.0_f32, |largest, value| largest.max(value.abs()));
    let mut pairs = got.iter().zip(expected);
    pairs.all(|(got, expected)| {
        (got - expected).abs() <= REPLAY_TOLERANCE * largest
            || got == expected
            || got.is_nan() && expected.is_nan()
    })
}

/// Rows that are run at once at most: on the CPU those whose largest operator's inputs and
/// outputs fit [`CACHE_BYTES`].
pub(super) fn rows_per_run(dir: &Path, device: Device) -> Result<usize, RuntimeError> {
    if device != Device::Cpu {
        return Ok(usize::MAX);
    }
    let path = dir.join("posterior.onnx");
    let bytes = std::fs::read(&path).map_err(|source| RuntimeError::File {
        path: path.clone(),
        source,
    })?;
    let Ok(graph) = lfbm_onnx::decode_shapes(&bytes) else {
        // It runs all the same, only without what we know of it: the bundle's reader says so.
        return Ok(MAX_ROWS_PER_RUN);
    };
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

#[cfg(test)]
mod tests {
    use super::agree;

    #[test]
    fn agreement_is_a_matter_of_the_largest_value() {
        let expected = [-1000.0, 0.0, 1.0];
        assert!(agree(&[-1000.9, 0.9, 0.1], &expected));
        assert!(!agree(&[-1001.1, 0.0, 1.0], &expected));
        assert!(!agree(&[-1000.0, 0.0, f32::NAN], &expected));
        let expected = [f32::INFINITY, f32::NAN, 1.0];
        assert!(agree(&expected, &expected));
        assert!(!agree(&[0.0, f32::NAN, 1.0], &expected));
        assert!(!agree(&[f32::INFINITY, 0.0, 1.0], &expected));
        assert!(!agree(&[f32::INFINITY, f32::NAN, 1.1], &expected));
    }
}
