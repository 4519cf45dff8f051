use std::path::Path;

use lfbm_bundle::manifest::Manifest;
use lfbm_bundle::noise::ChainNoise;
use lfbm_bundle::runtime::{
    ChainStarts, PosteriorStep, Preprocess, Runtime, RuntimeError, SessionOptions, StepInputs,
    StepOutputs,
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

/// What a scheduler runs.
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
}

/// A model's graphs, open.
pub struct Engine {
    preprocess: Preprocess,
    starts: ChainStarts,
    posterior: PosteriorStep,
    sizes: Sizes,
    default_steps: u32,
}

impl Engine {
    /// Opens the graphs of the bundle in `dir`, which `manifest` describes.
    ///
    /// # Errors
    /// When ONNX Runtime refuses a graph, or the device cannot be had.
    pub fn open(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        options: &SessionOptions,
    ) -> Result<Self, RuntimeError> {
        Ok(Self {
            preprocess: Preprocess::open(runtime, dir, manifest, options)?,
            starts: ChainStarts::open(runtime, dir, manifest, options)?,
            posterior: PosteriorStep::open(runtime, dir, manifest, options)?,
            sizes: Sizes {
                pixels: manifest.image.pixels(),
                positions: manifest.image.positions(),
                latent_dim: manifest.latent_dim,
            },
            default_steps: manifest.langevin.steps,
        })
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
