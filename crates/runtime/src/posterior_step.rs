//! One Langevin step: `posterior.onnx`.

use std::path::Path;

use lfbm_bundle::manifest::Manifest;
use lfbm_onnx::Dim;

use crate::device::Device;
use crate::error::RuntimeError;
use crate::executor::{GraphExecutor, Input, Output, check_length};
use crate::graphs::{STEP, open};
use crate::library::Runtime;
use crate::options::SessionOptions;

/// What a thread keeps at hand. Runs of more rows than fit take up to 1.4 times as long a row; with
/// fewer, layers read their weights more often.
const CACHE_BYTES: usize = 5 << 20;
/// Matrix products gain nothing from more rows than these.
const MAX_ROWS_PER_RUN: usize = 64;
/// What the graph gives; without the last, reconstructions, a run is shorter.
const OUTPUTS: &[&str] = &["z_next", "log_prior", "log_likelihood", "reconstruction"];

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
    graph: Box<dyn GraphExecutor>,
    latent_dim: usize,
    x_shape: [usize; 3],
    rows_per_run: usize,
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
        Ok(Self {
            graph: open(runtime, dir, (STEP, OUTPUTS), options)?,
            rows_per_run,
            latent_dim: manifest.latent_dim,
            x_shape: manifest.x_shape(),
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
        let [channels, height, width] = self.x_shape;
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
        self.graph.prepare(rows)
    }

    fn run_once(
        &mut self,
        rows: usize,
        inputs: StepInputs<'_>,
        outputs: StepOutputs<'_>,
    ) -> Result<(), RuntimeError> {
        let latent = [self.latent_dim];
        let [_, height, width] = self.x_shape;
        let inputs = [
            Input {
                name: "z",
                row: &latent,
                values: inputs.z,
            },
            Input {
                name: "x",
                row: &self.x_shape,
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
        let [z_next, log_prior, log_likelihood] = [
            ("z_next", outputs.z_next),
            ("log_prior", outputs.log_prior),
            ("log_likelihood", outputs.log_likelihood),
        ]
        .map(|(name, values)| Output { name, values });
        match outputs.reconstruction {
            None => {
                let mut outputs = [z_next, log_prior, log_likelihood];
                self.graph.run(rows, &inputs, &mut outputs)
            }
            Some(values) => {
                let name = "reconstruction";
                let reconstruction = Output { name, values };
                let mut outputs = [z_next, log_prior, log_likelihood, reconstruction];
                self.graph.run(rows, &inputs, &mut outputs)
            }
        }
    }
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
