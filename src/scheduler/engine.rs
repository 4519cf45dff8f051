use std::path::Path;

use lfbm_bundle::manifest::Manifest;
use lfbm_bundle::noise::ChainNoise;
use lfbm_bundle::runtime::{
    ChainGraphs, Runtime, RuntimeError, SessionOptions, StepInputs, StepOutputs,
};

/// Sizes of a model's arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// C H W.
    pub(super) pixels: usize,
    /// H W.
    pub(super) positions: usize,
    /// d.
    pub(super) latent_dim: usize,
}

/// The graphs that a worker runs.
pub(super) trait Graphs: Send + 'static {
    fn sizes(&self) -> Sizes;

    /// K of the model's defaults.
    fn default_steps(&self) -> u32;

    /// Intensities to x.
    fn preprocess(
        &mut self,
        rows: usize,
        images: &[f32],
        x: &mut [f32],
    ) -> Result<(), RuntimeError>;

    /// Draws the noise that a chain's start is made of.
    fn draw_start(&self, noise: &ChainNoise, values: &mut [f32]);

    /// That noise to the latents that chains start at, given their x.
    fn start(
        &mut self,
        rows: usize,
        x: &[f32],
        noise: &[f32],
        z: &mut [f32],
    ) -> Result<(), RuntimeError>;

    /// One Langevin step.
    fn step(
        &mut self,
        rows: usize,
        inputs: StepInputs<'_>,
        outputs: StepOutputs<'_>,
    ) -> Result<(), RuntimeError>;

    /// Records a CUDA graph of a step of `rows` rows for the calling thread, where the device has them.
    fn record(&mut self, rows: usize) -> Result<(), RuntimeError>;
}

/// A model's graphs, open for one worker.
pub struct Engine {
    graphs: ChainGraphs,
    sizes: Sizes,
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
            sizes: Sizes {
                pixels: manifest.image.pixels(),
                positions: manifest.image.positions(),
                latent_dim: manifest.latent_dim,
            },
            default_steps: manifest.langevin.steps,
        });
        Ok(engines.collect())
    }
}

impl Graphs for Engine {
    fn sizes(&self) -> Sizes {
        self.sizes
    }

    fn default_steps(&self) -> u32 {
        self.default_steps
    }

    fn preprocess(
        &mut self,
        rows: usize,
        images: &[f32],
        x: &mut [f32],
    ) -> Result<(), RuntimeError> {
        self.graphs.preprocess.run(rows, images, x)
    }

    fn draw_start(&self, noise: &ChainNoise, values: &mut [f32]) {
        self.graphs.starts.draw(noise, values);
    }

    fn start(
        &mut self,
        rows: usize,
        x: &[f32],
        noise: &[f32],
        z: &mut [f32],
    ) -> Result<(), RuntimeError> {
        self.graphs.starts.run(rows, x, noise, z)
    }

    fn step(
        &mut self,
        rows: usize,
        inputs: StepInputs<'_>,
        outputs: StepOutputs<'_>,
    ) -> Result<(), RuntimeError> {
        self.graphs.posterior.run(rows, inputs, outputs)
    }

    fn record(&mut self, rows: usize) -> Result<(), RuntimeError> {
        self.graphs.posterior.record(rows)
    }
}
