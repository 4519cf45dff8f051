use std::path::Path;

use lfbm_bundle::manifest::Manifest;
use lfbm_runtime::{
    ChainGraphs, ChainModel, ChainNoise, ChainSizes, Runtime, RuntimeError, SessionOptions,
    StepInputs, StepOutputs,
};

/// The graphs that a worker runs.
pub(super) trait Graphs: ChainModel + Send + 'static {
    fn sizes(&self) -> ChainSizes;

    /// K of the model's defaults.
    fn default_steps(&self) -> u32;

    /// Records a CUDA graph of a step of `rows` rows for the calling thread, where the device has them.
    fn record(&mut self, rows: usize) -> Result<(), RuntimeError>;
}

/// A model's graphs, open for one worker.
pub struct Engine {
    graphs: ChainGraphs,
    sizes: ChainSizes,
    default_steps: u32,
}

impl Engine {
    /// Opens the graphs of the bundle in `dir`, which `manifest` describes: one engine a thread on
    /// the CPU, one on any other device.
    ///
    /// # Errors
    /// When ONNX Runtime refuses a graph, or the device cannot be had.
    pub fn open(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        options: &SessionOptions,
    ) -> Result<Vec<Self>, RuntimeError> {
        let workers = ChainGraphs::open(runtime, dir, manifest, options)?;
        let engines = workers.into_iter().map(|graphs| Self {
            graphs,
            sizes: ChainSizes::new(manifest),
            default_steps: manifest.langevin.steps,
        });
        Ok(engines.collect())
    }
}

impl ChainModel for Engine {
    fn preprocess(
        &mut self,
        rows: usize,
        images: &[f32],
        x: &mut [f32],
    ) -> Result<(), RuntimeError> {
        ChainModel::preprocess(&mut self.graphs, rows, images, x)
    }

    fn draw_start(&self, noise: &ChainNoise, values: &mut [f32]) {
        self.graphs.draw_start(noise, values);
    }

    fn start(
        &mut self,
        rows: usize,
        x: &[f32],
        noise: &[f32],
        z: &mut [f32],
    ) -> Result<(), RuntimeError> {
        self.graphs.start(rows, x, noise, z)
    }

    fn step(
        &mut self,
        rows: usize,
        inputs: StepInputs<'_>,
        outputs: StepOutputs<'_>,
    ) -> Result<(), RuntimeError> {
        self.graphs.step(rows, inputs, outputs)
    }
}

impl Graphs for Engine {
    fn sizes(&self) -> ChainSizes {
        self.sizes
    }

    fn default_steps(&self) -> u32 {
        self.default_steps
    }

    fn record(&mut self, rows: usize) -> Result<(), RuntimeError> {
        self.graphs.posterior.record(rows)
    }
}
