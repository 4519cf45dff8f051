//! The graphs that a chain passes.

use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use lfbm_bundle::manifest::Manifest;

use crate::chain::{ChainModel, ChainSizes};
use crate::chain_start::ChainStarts;
use crate::error::RuntimeError;
use crate::graphs::Preprocess;
use crate::library::Runtime;
use crate::noise::ChainNoise;
use crate::options::SessionOptions;
use crate::placement::Placement;
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
    /// The device, and the CPUs that whoever runs the graphs keeps to: [`Placement::bind_thread`].
    pub placement: Placement,
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
        let placement = Placement::new(options.device, options.threads());
        Self::open_at(runtime, dir, manifest, &[placement], options)
    }

    /// The same, once for each thread of `placements`, in order; the options' own device and threads do not
    /// count.
    ///
    /// What a thread of a NUMA node runs is opened on a thread that keeps to the node's CPUs too, because
    /// Linux takes memory from the node of the CPU that first writes to it.
    ///
    /// # Errors
    /// When ONNX Runtime refuses a graph, or one of the devices cannot be had.
    pub fn open_at(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        placements: &[Placement],
        options: &SessionOptions,
    ) -> Result<Vec<Self>, RuntimeError> {
        let open = &|placement| Self::open_on(runtime, dir, manifest, placement, options);
        let mut opened = Vec::new();
        if !placements.iter().any(Placement::is_bound) {
            for placement in placements {
                opened.extend(open(placement)?);
            }
            return Ok(opened);
        }
        thread::scope(|scope| {
            let mut threads = Vec::with_capacity(placements.len());
            // All at the same time: a thread that began after the end of another would be given what that one
            // had freed, in the memory of the other node.
            for placement in placements {
                let thread = thread::Builder::new().name(format!("open-{placement}"));
                let open = move || {
                    placement.bind_thread()?;
                    open(placement)
                };
                let thread = thread.spawn_scoped(scope, open);
                threads.push(thread.map_err(RuntimeError::Thread)?);
            }
            for thread in threads {
                opened.extend(thread.join().unwrap_or_else(|panic| resume_unwind(panic))?);
            }
            Ok(opened)
        })
    }

    fn open_on(
        runtime: &Runtime,
        dir: &Path,
        manifest: &Manifest,
        placement: &Placement,
        options: &SessionOptions,
    ) -> Result<Vec<Self>, RuntimeError> {
        let options = SessionOptions {
            device: placement.device(),
            threads: 1,
            ..*options
        };
        let rows_per_run = rows_per_run(dir, options.device)?;
        let open = |_| {
            Ok(Self {
                preprocess: Preprocess::open(runtime, dir, manifest, &options)?,
                starts: ChainStarts::open(runtime, dir, manifest, &options)?,
                posterior: PosteriorStep::open_for(runtime, dir, manifest, &options, rows_per_run)?,
                sizes: ChainSizes::new(manifest),
                default_steps: manifest.langevin.steps,
                placement: placement.clone(),
            })
        };
        (0..placement.threads()).map(open).collect()
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
