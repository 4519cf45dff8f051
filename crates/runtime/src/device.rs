//! Devices.

use std::fmt;

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

/// A device as people name it: `cpu`, `cpu:1` for the CPUs of a NUMA node, `cuda:0`, `tensorrt:0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NamedDevice {
    pub(crate) device: Device,
    /// Of the CPU, the NUMA node whose CPUs alone are meant.
    pub(crate) node: Option<u32>,
}

impl NamedDevice {
    /// Reads `cpu[:N]`, `cuda[:N]` or `tensorrt[:N]`; a GPU without N is the first.
    pub(crate) fn read(name: &str) -> Option<Self> {
        let (kind, number) = match name.split_once(':') {
            Some((kind, number)) => (kind, Some(number.parse().ok()?)),
            None => (name, None),
        };
        let id = i32::try_from(number.unwrap_or(0)).ok()?;
        let (device, node) = match kind {
            "cpu" => (Device::Cpu, number),
            "cuda" => (Device::Cuda { id }, None),
            "tensorrt" => (Device::TensorRt { id }, None),
            _ => return None,
        };
        Some(Self { device, node })
    }
}

impl fmt::Display for NamedDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "{}:{node}", self.device),
            None => self.device.fmt(f),
        }
    }
}
