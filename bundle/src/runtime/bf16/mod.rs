//! Products in bfloat16: the large layers of a network on a processor that has instructions for
//! them.
//!
//! Operands are rounded to bfloat16, products are added up in single precision, and everything
//! between layers stays in single precision. A row of a layer does not depend on the other rows, to
//! the last bit.
//!
//! ONNX Runtime has no such kernels for x86-64. [`move_layers`] names the layers that are worth it in
//! a domain of their own, and [`operators`] is what ONNX Runtime runs for them.

mod conv;
mod linear;
mod operator;
#[cfg(test)]
mod testing;
mod tile;

use ort::operator::OperatorDomain;

use crate::onnx::{self, DecodeError};
use operator::Layer;

pub(super) use tile::available;

/// What the operators' names are looked up in.
const DOMAIN: &str = "lfbm.bf16";

/// The graph with its large layers in [`DOMAIN`].
pub(super) fn move_layers(graph: &[u8]) -> Result<Vec<u8>, DecodeError> {
    onnx::move_layers(graph, DOMAIN)
}

/// What ONNX Runtime runs for the nodes that [`move_layers`] made.
pub(super) fn operators() -> ort::Result<OperatorDomain> {
    let domain = OperatorDomain::new(DOMAIN)?;
    domain
        .add(Layer::Gemm)?
        .add(Layer::Conv)?
        .add(Layer::ConvTranspose)
}

/// What follows a product: a bias, then a leaky rectifier.
struct Finish {
    /// One value an output.
    bias: Vec<f32>,
    slope: f32,
}

fn rectify(value: f32, slope: f32) -> f32 {
    // Infinity times 0 is no number.
    let negative = if slope == 0.0 { 0.0 } else { value * slope };
    if value < 0.0 { negative } else { value }
}
