//! Running a bundle's graphs with ONNX Runtime.

mod evaluate;
mod library;
mod session;

pub use evaluate::evaluate;
pub use library::{LIBRARY_VARIABLE, Runtime};
pub use session::{Generator, PosteriorStep, Preprocess, PriorSampler, StepInputs, StepOutputs};

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a graph runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU through ONNX Runtime's CUDA provider.
    Cuda {
        /// Which GPU, from 0.
        id: i32,
    },
    /// An NVIDIA GPU through TensorRT.
    TensorRt {
        /// Which GPU, from 0.
        id: i32,
    },
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda { id } => write!(f, "cuda:{id}"),
            Device::TensorRt { id } => write!(f, "tensorrt:{id}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    /// Reads `cpu`, `cuda`, `cuda:N`, `tensorrt` or `tensorrt:N`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, id) = text.split_once(':').unwrap_or((text, "0"));
        let wrong = || format!("unknown device {text:?}, expected cpu, cuda[:N] or tensorrt[:N]");
        let id = id.parse().ok().filter(|id| *id >= 0).ok_or_else(wrong)?;
        match kind {
            "cpu" if kind == text => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda { id }),
            "tensorrt" => Ok(Device::TensorRt { id }),
            _ => Err(wrong()),
        }
    }
}

/// How a graph's session is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Where it runs. When the device cannot be had, opening the session fails.
    pub device: Device,
    /// Threads that share one operator; 0 for one per core.
    pub intra_op_threads: usize,
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
    #[error("the device {device} cannot be used: {source}")]
    Device {
        /// Which device.
        device: Device,
        /// What ONNX Runtime says.
        source: ort::Error,
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
