//! The graphs that a chain passes.

use std::path::Path;

use lfbm_bundle::manifest::Manifest;

use crate::chain::{ChainModel, ChainSizes};
use crate::chain_start::ChainStarts;
use crate::device::Device;
use crate::error::RuntimeError;
use crate::graphs::Preprocess;
use crate::library::Runtime;
use crate::noise::ChainNoise;
use crate::options::SessionOptions;
use crate::posterior_step::{PosteriorStep, StepInputs, StepOutputs, rows_per_run};

/// The graphs that a chain passes, from its image to its densities, open for one thread.
///
/// Rows do not depend on each other. So threads share chains and not operators: each has sessions
/// of its own, and none waits for another.
pub struct ChainGraphs {
    /// Intensities to x.
    pub preprocess: Preprocess,
    /// x to where the chain starts.
    pub starts: ChainStarts,
    /// One step of it.
    pub posterior: PosteriorStep,
    /// Sizes of the model's arrays.
    pub sizes: ChainSizes,
    /// K of the model's defaults.
    pub default_steps: u32,
}

impl ChainGraphs {
    /// Opens the graphs of the bundle in `dir`, once a thread on the CPU, once on any other
    /// device.
    ///
    /// # Errors
    /// When ONNX Runtime refuses a graph, or the device cannot be had.
    pub fn open(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        options: &SessionOptions,
    ) -> Result<Vec<Self>, RuntimeError> {
        let threads = match options.device {
            Device::Cpu => options.threads(),
            Device::Cuda { .. } | Device::TensorRt { .. } => 1,
        };
        let rows_per_run = rows_per_run(dir, options.device)?;
        let options = SessionOptions {
            threads: 1,
            ..*options
        };
        let open = |_| {
            Ok(Self {
                preprocess: Preprocess::open(runtime, dir, manifest, &options)?,
                starts: ChainStarts::open(runtime, dir, manifest, &options)?,
                posterior: PosteriorStep::open_for(runtime, dir, manifest, &options, rows_per_run)?,
                sizes: ChainSizes::new(manifest),
                default_steps: manifest.langevin.steps,
            })
        };
        (0..threads).map(open).collect()
    }
}

impl ChainModel for ChainGraphs {
    fn preprocess(
        &mut self,
        rows: usize,
        images: &[f32],
        x: &mut [f32],
    ) -> Result<(), RuntimeError> {
        self.preprocess.run(rows, images, x)
    }

    fn draw_start(&self, noise: &ChainNoise, values: &mut [f32]) {
        self.starts.draw(noise, values);
    }

    fn start(
        &mut self,
        rows: usize,
        x: &[f32],
        noise: &[f32],
        z: &mut [f32],
    ) -> Result<(), RuntimeError> {
        self.starts.run(rows, x, noise, z)
    }

    fn step(
        &mut self,
        rows: usize,
        inputs: StepInputs<'_>,
        outputs: StepOutputs<'_>,
    ) -> Result<(), RuntimeError> {
        self.posterior.run(rows, inputs, outputs)
    }
}
