//! CPU kernels for the layers of a graph, where they are faster than ONNX Runtime's, and the plan of
//! which nodes run on them; and for comparing vectors.
//!
//! * [`offload`] rewrites a graph: nodes that are faster here get a domain of their own;
//! * [`convolution`] has convolutions in single precision with fewer products (Winograd), and in
//!   bfloat16, for which ONNX Runtime has no kernels on x86-64;
//! * [`linear`] has fully connected layers in bfloat16, in AMX's matrix registers where the CPU has them;
//! * [`Fusion`] runs what lies between layers, a block of rows at a time, in single precision;
//! * [`Vectors`] finds the nearest of many vectors, exactly, by products in matrix registers where the CPU has them.
//!
//! Nothing here depends on ONNX Runtime. All unsafe code of the workspace is here, but for what loads
//! a library.
#![deny(clippy::undocumented_unsafe_blocks)]

#[cfg(target_arch = "x86_64")]
mod amx;
mod bf16;
mod convolution;
mod fusion;
mod layer;
mod nearest;
mod offload;
mod pairs;
mod product;
mod program;
mod rewrite;
mod shared;
#[cfg(test)]
mod testing;
mod vector;
#[cfg(target_arch = "x86_64")]
mod winograd;
#[cfg(not(target_arch = "x86_64"))]
#[path = "winograd_elsewhere.rs"]
mod winograd;

pub use bf16::available as bf16_available;
pub use convolution::Convolution;
pub use fusion::Fusion;
pub use layer::{Finish, Layer};
pub use nearest::{Vectors, squared_distance};
pub use offload::{DOMAIN, Offloaded, convolution, linear, offload};
pub use program::Program;
pub use rewrite::{FUSION, INPUT, PROGRAM, SLOPE};
