//! The large layers of a network on the processor, where we are faster than ONNX Runtime.
//!
//! [`winograd`] has convolutions in single precision with fewer products. [`bf16`] has layers of every
//! kind in bfloat16, for which ONNX Runtime has no kernels on x86-64; convolutions with fewer products
//! are faster even then, and stay in single precision. So is what lies between layers.
//!
//! [`move_layers`] names the layers that are worth it in a domain of their own, and [`operators`] is what
//! ONNX Runtime runs for them.

pub(super) mod bf16;
mod operator;
#[cfg(test)]
mod testing;
#[cfg(target_arch = "x86_64")]
mod winograd;
#[cfg(not(target_arch = "x86_64"))]
#[path = "winograd_elsewhere.rs"]
mod winograd;

use ort::operator::OperatorDomain;

use super::Precision;
use crate::onnx::{self, DecodeError, Movable};
use operator::{Kind, LayerOperator};

/// What the operators' names are looked up in.
const DOMAIN: &str = "lfbm";

/// The graph with the layers in [`DOMAIN`] that are faster there on this processor; `None` if there are
/// none.
pub(super) fn move_layers(
    graph: &[u8],
    precision: Precision,
) -> Result<Option<Vec<u8>>, DecodeError> {
    let moved = onnx::move_layers(graph, DOMAIN, |layer| match (precision, layer) {
        (Precision::Bf16, _) => true,
        (_, Movable::Linear) => false,
        (_, Movable::Convolution(geometry)) => winograd::suits(geometry),
    });
    match precision {
        Precision::Bf16 => moved,
        // The same numbers, only later: a graph that we cannot read is no reason to refuse it.
        Precision::F32 | Precision::Tf32 => Ok(moved.unwrap_or_default()),
    }
}

/// What ONNX Runtime runs for the nodes that [`move_layers`] made.
pub(super) fn operators(precision: Precision) -> ort::Result<OperatorDomain> {
    let kinds = [Kind::Gemm, Kind::Conv, Kind::ConvTranspose];
    let mut domain = OperatorDomain::new(DOMAIN)?;
    for kind in kinds {
        domain = domain.add(LayerOperator { kind, precision })?;
    }
    Ok(domain)
}

/// Rows of inputs to as many of outputs.
trait Layer: Send {
    /// Values in a row of the input.
    fn inputs(&self) -> usize;

    /// Sizes of a row of the output.
    fn outputs(&self) -> Vec<usize>;

    fn run(&mut self, x: &[f32], y: &mut [f32]);
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
