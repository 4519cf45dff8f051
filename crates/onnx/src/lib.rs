//! ONNX graphs: a small in-memory form, its construction, its gradient, and the file format.
//!
//! ```
//! use lfbm_onnx::{Dim, Graph, gradient};
//!
//! let mut graph = Graph::new("square");
//! let z = graph.input("z", &[Dim::Batch, Dim::Fixed(3)]);
//! let square = graph.mul(&z, &z)?;
//! let energy = graph.reduce_sum(&square, &[1], false)?;
//! let slope = gradient(&mut graph, &energy, &z)?;
//! graph.output("energy", &energy)?;
//! graph.output("slope", &slope)?;
//! # Ok::<(), lfbm_onnx::GraphError>(())
//! ```
#![forbid(unsafe_code)]

mod append;
mod build;
mod codec;
mod conv_geometry;
mod fuse;
mod gradient;
mod graph;
mod half;
mod import;
mod missing;
pub mod proto;
mod tensor;

pub use codec::{
    DecodeError, External, ExternalData, Signature, decode, decode_shapes, encode, is_standard,
    signature,
};
pub use conv_geometry::ConvGeometry;
pub use gradient::{differentiable_ops, gradient, pullback};
pub use graph::{
    Concat, Constant, ConstantNode, Convolution, Dim, ElementType, Elu, Flatten, Gemm, Graph,
    GraphError, LeakyRelu, Node, OPSET, Op, Reduction, Shape, Shares, Split, Transpose, Value,
    ValueType,
};
pub use import::{Imported, import, import_of_images};
pub use tensor::Tensor;
