//! Initial weights.

use tch::{Device, Kind, Tensor};

/// Weight of `shape` and bias of `outputs` values, uniform in ±1/sqrt(`fan_in`): PyTorch's default
/// for linear layers and convolutions. Drawn on the CPU, so that a seed gives the same network on
/// every device.
pub fn fan_in_uniform(
    shape: &[i64],
    outputs: i64,
    fan_in: i64,
    device: Device,
) -> (Tensor, Tensor) {
    let bound = 1.0 / (fan_in as f64).sqrt();
    let draw = |shape: &[i64]| {
        let unit = Tensor::rand(shape, (Kind::Float, Device::Cpu));
        ((unit * 2.0 - 1.0) * bound).to_device(device)
    };
    (draw(shape), draw(&[outputs]))
}
