//! The graphs that a chain passes.

use std::path::Path;

use crate::posterior_step::rows_per_run;
use lfbm_bundle::manifest::Manifest;

use crate::chain_start::ChainStarts;
use crate::device::Device;
use crate::error::RuntimeError;
use crate::graphs::Preprocess;
use crate::library::Runtime;
use crate::options::SessionOptions;
use crate::posterior_step::PosteriorStep;

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
            })
        };
        (0..threads).map(open).collect()
    }
}
