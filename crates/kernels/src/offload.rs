//! Which nodes of a graph run on the kernels, and the kernels that run them.

use std::sync::Arc;

use lfbm_onnx::DecodeError;

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::convolution::{ByTaps, Convolution};
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
        Offloadable::Linear => bf16 && is_fast(),
        // A kernel of 1 x 1 is one product, which ONNX Runtime makes without changing the layout before and after it.
        Offloadable::Convolution(convolution) => {
            winograd::suits(convolution)
                || bf16 && is_fast() && !(matrix_registers() && convolution.kernel() == [1, 1])
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

/// Whether this process may multiply in registers for matrices.
fn matrix_registers() -> bool {
    #[cfg(target_arch = "x86_64")]
    return amx::available();
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

/// Whether products in bfloat16 are faster than ONNX Runtime's in single precision. CPUs with registers for matrices have
/// few multipliers for vectors of bfloat16, so where a process may not use those registers, they are not.
fn is_fast() -> bool {
    #[cfg(target_arch = "x86_64")]
    return matrix_registers() || !amx::in_cpu();
    #[cfg(not(target_arch = "x86_64"))]
    return true;
}

/// A convolution whose `weights` are laid out as in ONNX: in matrix registers if `bf16` allows it and the CPU has them,
/// else with fewer products if that suits it, else in bfloat16 vectors if `bf16` allows it. `None` if there is no
/// kernel for it.
pub fn convolution(
    convolution: Convolution,
    weights: &[f32],
    bf16: bool,
    finish: Finish,
) -> Option<Box<dyn Layer>> {
    let output = convolution.output()?;
    #[cfg(target_arch = "x86_64")]
    if bf16 && matrix_registers() {
        return Some(Box::new(ByTaps::<amx::Registers>::new(
            convolution,
            output,
            weights,
            finish,
        )));
    }
    if winograd::suits(&convolution) {
        winograd::layer(convolution, output, weights, finish)
    } else if bf16 {
        Some(Box::new(ByTaps::<bf16::Vectors>::new(
            convolution,
            output,
            weights,
            finish,
        )))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use lfbm_onnx::{ConvGeometry, Dim, Graph, GraphError, Tensor, encode};
    use lfbm_testkit::noise;

    use super::*;

    #[test]
    fn bfloat16_moves_what_it_makes_faster() -> Result<(), GraphError> {
        let mut graph = Graph::new("layers");
        let x = graph.input(
            "x",
            &[Dim::Batch, Dim::Fixed(32), Dim::Fixed(9), Dim::Fixed(9)],
        );
        // Five taps: more than Winograd's filtering takes.
        let kernel = Tensor::new([32, 32, 5, 5], noise(32 * 32 * 25, 1));
        let kernel = graph.weights("kernel", kernel);
        let y = graph.conv(&x, &kernel, None, ConvGeometry::new(5, 1, 2))?;
        graph.output("y", &y)?;
        let bytes = encode(&graph, None).unwrap();
        assert!(offload(&bytes, false).unwrap().is_none());
        assert_eq!(offload(&bytes, true).unwrap().is_some(), is_fast());
        Ok(())
    }
}
