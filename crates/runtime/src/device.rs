//! Devices.

use std::fmt;
use std::str::FromStr;

/// Where a graph runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// An NVIDIA GPU through ONNX Runtime's CUDA provider.
    Cuda {
        /// Which GPU, from 0.
        id: i32,
    },
    /// An NVIDIA GPU through TensorRT, and through CUDA what TensorRT does not know.
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
