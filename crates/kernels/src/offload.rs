//! Which nodes of a graph run on the kernels, and the kernels that run them.

use std::sync::Arc;

use lfbm_onnx::DecodeError;

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::convolution::Convolution;
use crate::layer::{Finish, Layer};
use crate::program::Program;
use crate::rewrite::{Offloadable, Rewriter};
use crate::{bf16, winograd};

/// The domain of the operators that offloaded nodes become.
pub const DOMAIN: &str = "lfbm";

/// A graph with operators of [`DOMAIN`].
pub struct Offloaded {
    /// The `.onnx` file.
    pub graph: Vec<u8>,
    /// What its [`FUSION`](crate::FUSION) nodes run.
    pub programs: Arc<[Program]>,
}

/// The graph with every node in [`DOMAIN`] that is faster there on this CPU; `None` if there is none.
/// With `bf16`, large layers are multiplied in bfloat16 where that is faster.
///
/// # Errors
/// When `graph` is not an `.onnx` file that [`lfbm_onnx`] can read.
pub fn offload(graph: &[u8], bf16: bool) -> Result<Option<Offloaded>, DecodeError> {
    let mut rewriter = Rewriter::read(graph, DOMAIN)?;
    rewriter.offload_layers(|layer| match layer {
        Offloadable::Linear => bf16,
        // Vectors of bfloat16 numbers are slower than ONNX Runtime on CPUs that have registers for matrices.
        Offloadable::Convolution(convolution) => {
            winograd::suits(convolution) || bf16 && !matrix_registers()
        }
    })?;
    let programs = rewriter.fuse().into();
    Ok(rewriter.finish().map(|graph| Offloaded { graph, programs }))
}

/// A fully connected layer in bfloat16; `weight` is that from an input to an output.
pub fn linear(
    inputs: usize,
    outputs: usize,
    weight: impl Fn(usize, usize) -> f32,
    finish: Finish,
) -> Box<dyn Layer> {
    #[cfg(target_arch = "x86_64")]
    if matrix_registers() {
        return Box::new(amx::Linear::new(inputs, outputs, weight, finish));
    }
    Box::new(bf16::Linear::new(inputs, outputs, weight, finish))
}

/// Whether this CPU has registers for matrices.
fn matrix_registers() -> bool {
    #[cfg(target_arch = "x86_64")]
    return amx::available();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// A convolution whose `weights` are laid out as in ONNX: with fewer products if that suits it, else in
/// bfloat16 if `bf16` allows it. `None` if there is no kernel for it.
pub fn convolution(
    convolution: Convolution,
    weights: &[f32],
    bf16: bool,
    finish: Finish,
) -> Option<Box<dyn Layer>> {
    let output = convolution.output()?;
    if winograd::suits(&convolution) {
        winograd::layer(convolution, output, weights, finish)
    } else if bf16 {
        Some(Box::new(bf16::Conv::new(
            convolution,
            output,
            weights,
            finish,
        )))
    } else {
        None
    }
}
