//! Where a graph runs.

use std::fmt;
use std::str::FromStr;

use ort::ep::{CUDA, ExecutionProvider, ExecutionProviderDispatch, TensorRT};

use super::{LIBRARY_VARIABLE, Precision, Runtime, RuntimeError, SessionOptions};

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

impl SessionOptions {
    /// The execution providers of the device, first choice first. Each fails when it cannot be
    /// had; without that, ONNX Runtime would silently run on the processor.
    pub(super) fn providers(&self) -> Vec<ExecutionProviderDispatch> {
        let cuda = |id| {
            let tf32 = self.precision == Precision::Tf32;
            let cuda = CUDA::default().with_device_id(id).with_tf32(tf32);
            let cuda = cuda.with_cuda_graph(self.cuda_graphs);
            match self.gpu_memory_limit_bytes {
                Some(limit) => cuda.with_memory_limit(limit),
                None => cuda,
            }
            .build()
            .error_on_failure()
        };
        match self.device {
            Device::Cpu => Vec::new(),
            Device::Cuda { id } => vec![cuda(id)],
            Device::TensorRt { id } => {
                let tensorrt = TensorRT::default().with_device_id(id).build();
                vec![tensorrt.error_on_failure(), cuda(id)]
            }
        }
    }
}

impl Runtime {
    /// Why `device` cannot be had, when ONNX Runtime says `error` of it.
    pub(super) fn device_error(&self, device: Device, error: &ort::Error) -> RuntimeError {
        let (provider, available) = match device {
            Device::TensorRt { .. } => (TensorRT::NAME, TensorRT::is_available()),
            Device::Cpu | Device::Cuda { .. } => (CUDA::NAME, CUDA::is_available()),
        };
        let reason = if available.unwrap_or(false) {
            format!(
                "{error}; look whether nvidia-smi shows it and whether LD_LIBRARY_PATH leads to \
                 the libraries of CUDA, cuDNN and, for tensorrt, TensorRT"
            )
        } else {
            format!(
                "{} was built without {provider}; set {LIBRARY_VARIABLE} to the libonnxruntime.so \
                 of a build for GPUs, or ask for the device cpu",
                self.path().display()
            )
        };
        RuntimeError::Device { device, reason }
    }
}
