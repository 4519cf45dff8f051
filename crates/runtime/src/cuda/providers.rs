//! The execution providers of GPUs.

use ort::ep::{CUDA, ExecutionProvider, ExecutionProviderDispatch, TensorRT};
use ort::session::builder::SessionBuilder;

use crate::device::Device;
use crate::error::{LIBRARY_VARIABLE, RuntimeError};
use crate::library::Runtime;
use crate::options::SessionOptions;
use crate::precision::Precision;

/// Adds the execution providers of the options' device.
pub(super) fn register(
    runtime: &Runtime,
    options: &SessionOptions,
    builder: SessionBuilder,
) -> Result<SessionBuilder, RuntimeError> {
    let providers = providers(options);
    if providers.is_empty() {
        return Ok(builder);
    }
    let registered = builder.with_execution_providers(providers);
    registered.map_err(|error| device_error(runtime, options.device, &error.into()))
}

/// The execution providers of the device, first choice first. Each fails when it cannot be had;
/// without that, ONNX Runtime would silently run on the CPU.
fn providers(options: &SessionOptions) -> Vec<ExecutionProviderDispatch> {
    let cuda = |id| {
        let tf32 = options.precision == Precision::Tf32;
        let cuda = CUDA::default().with_device_id(id).with_tf32(tf32);
        let cuda = cuda.with_cuda_graph(options.cuda_graphs);
        match options.gpu_memory_limit_bytes {
            Some(limit) => cuda.with_memory_limit(limit),
            None => cuda,
        }
        .build()
        .error_on_failure()
    };
    match options.device {
        Device::Cpu => Vec::new(),
        Device::Cuda { id } => vec![cuda(id)],
        Device::TensorRt { id } => {
            let tensorrt = TensorRT::default().with_device_id(id).build();
            vec![tensorrt.error_on_failure(), cuda(id)]
        }
    }
}

/// Why `device` cannot be had, when ONNX Runtime says `error` of it.
fn device_error(runtime: &Runtime, device: Device, error: &ort::Error) -> RuntimeError {
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
            runtime.path().display()
        )
    };
    RuntimeError::Device { device, reason }
}
