//! Tensors between libtorch and plain memory.

use lfbm_onnx::Tensor as HostTensor;
use tch::{Device, Kind, Tensor};

/// The values of `tensor` as f32, row major.
pub fn values(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor
        .detach()
        .to_device(Device::Cpu)
        .to_kind(Kind::Float)
        .contiguous();
    let mut values = vec![0f32; tensor.numel()];
    tensor.copy_data(&mut values, tensor.numel());
    values
}

/// A copy of `tensor` in plain memory.
pub fn to_host(tensor: &Tensor) -> HostTensor {
    let shape: Vec<usize> = tensor.size().iter().map(|&size| size as usize).collect();
    HostTensor::new(shape, values(tensor))
}

/// A copy of a host's tensor, on the CPU.
pub fn to_tensor(tensor: &HostTensor) -> Tensor {
    let shape: Vec<i64> = tensor.shape.iter().map(|&size| size as i64).collect();
    to_device(&tensor.data, &shape, Device::Cpu)
}

/// A copy of `values` on `device`, in the given shape.
pub fn to_device(values: &[f32], shape: &[i64], device: Device) -> Tensor {
    Tensor::from_slice(values).view(shape).to_device(device)
}
