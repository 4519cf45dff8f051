//! Running a bundle's graphs with ONNX Runtime.

mod chain_graphs;
mod chain_start;
mod cuda_graph;
mod device;
mod evaluate;
mod features;
mod layers;
mod library;
mod posterior_step;
mod precision;
mod session;

pub use chain_graphs::ChainGraphs;
pub use chain_start::ChainStarts;
pub use device::Device;
pub use evaluate::{evaluate, evaluate_file};
pub use features::FeatureNetwork;
pub use library::{LIBRARY_VARIABLE, NO_TELEMETRY, Runtime};
pub use posterior_step::{PosteriorStep, StepInputs, StepOutputs};
pub use precision::Precision;
pub use session::{Generator, Preprocess, PriorSampler, PriorStep};

use std::num::NonZero;
use std::path::PathBuf;

/// How a graph's session is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where it runs. When the device cannot be had, opening the session fails.
    pub device: Device,
    /// Threads on the processor; 0 for one per core.
    pub threads: usize,
    /// Memory that the CUDA provider may take for tensors; everything without it.
    pub gpu_memory_limit_bytes: Option<usize>,
    /// How exactly large products are computed. When the device has it not, opening the session
    /// fails.
    pub precision: Precision,
    /// Whether the steps of [`PosteriorStep::record`] are replayed from CUDA graphs, which the CUDA
    /// provider alone has. On the processor the same code runs as if they were.
    pub cuda_graphs: bool,
}

impl SessionOptions {
    /// Threads on the processor, at least one.
    pub fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        }
    }
}

/// Why ONNX Runtime did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The library is in none of the places where it is looked for.
    #[error(
        "ONNX Runtime was not found (looked at {}); set {LIBRARY_VARIABLE} to libonnxruntime.so, \
         or run scripts/native-libs.py onnxruntime in the source tree",
        searched.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    LibraryMissing {
        /// The places.
        searched: Vec<PathBuf>,
    },
    /// The library is there and cannot be used.
    #[error("ONNX Runtime at {} cannot be used: {reason}", path.display())]
    Library {
        /// The library.
        path: PathBuf,
        /// What its loader says.
        reason: String,
    },
    /// A device cannot be had.
    #[error("the device {device} cannot be had: {reason}")]
    Device {
        /// Which device.
        device: Device,
        /// What is missing, and what to do.
        reason: String,
    },
    /// Products cannot be computed so.
    #[error("products in {precision} cannot be had: {reason}")]
    Precision {
        /// What was asked for.
        precision: Precision,
        /// What is missing.
        reason: String,
    },
    /// A replayed step is not the step.
    #[error(
        "the CUDA graph of {rows} rows gives another {what} than the same step without it; turn CUDA \
         graphs off (cuda_graphs = false)"
    )]
    CudaGraph {
        /// The number of rows.
        rows: usize,
        /// Which output differs.
        what: &'static str,
    },
    /// A file of the graph cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A graph was not accepted.
    #[error("{}: {source}", path.display())]
    Session {
        /// The file.
        path: PathBuf,
        /// What ONNX Runtime says.
        source: ort::Error,
    },
    /// A run failed.
    #[error("{graph} failed: {source}")]
    Run {
        /// Which graph.
        graph: &'static str,
        /// What ONNX Runtime says.
        source: ort::Error,
    },
    /// A graph outside a bundle was not accepted, or did not run.
    #[error("the graph {graph}: {reason}")]
    Graph {
        /// The graph's name.
        graph: String,
        /// What is wrong.
        reason: String,
    },
    /// The prior is to be sampled, and the model was imported without the graph for it.
    #[error(
        "the model was imported without prior.onnx, the inverse of its flow, so exact samples of its \
         prior are not available; import it again with --prior"
    )]
    NoPriorGraph,
    /// A buffer has the wrong length.
    #[error("{graph}: {what} holds {got} values, expected {expected}")]
    Length {
        /// Which graph.
        graph: &'static str,
        /// Which input or output.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length that fits the number of rows.
        expected: usize,
    },
}
