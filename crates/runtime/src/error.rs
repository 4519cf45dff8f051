//! Why ONNX Runtime did not do what was asked.

use std::path::PathBuf;

use crate::device::Device;
use crate::numa::NumaError;
use crate::precision::Precision;

/// The environment variable that names the library.
pub const LIBRARY_VARIABLE: &str = "LFBM_ONNXRUNTIME";

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
    /// Threads cannot keep to a NUMA node.
    #[error(transparent)]
    Numa(NumaError),
    /// The system has no thread to give.
    #[error("no thread to open graphs on: {0}")]
    Thread(std::io::Error),
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
    /// A graph is used after its end.
    #[error("{graph} is closed")]
    Closed {
        /// Which graph.
        graph: &'static str,
    },
    /// A graph outside a bundle was not accepted, or did not run.
    #[error("the graph {graph}: {reason}")]
    Graph {
        /// The graph's name.
        graph: String,
        /// What is wrong.
        reason: String,
    },
    /// The prior is to be sampled, and the model has no graph for it.
    #[error(
        "the model has no prior.onnx, the inverse of its flow, so exact samples of its prior are not \
         available; import it with --prior, or fit it with model.flow_components=0"
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
