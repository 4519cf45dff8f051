//! ONNX graphs: a small in-memory form, its construction, its gradient, and the file format.
//!
//! ```
//! use lfbm_bundle::onnx::{Dim, Graph, gradient};
//!
//! let mut graph = Graph::new("square");
//! let z = graph.input("z", &[Dim::Batch, Dim::Fixed(3)]);
//! let square = graph.mul(&z, &z)?;
//! let energy = graph.reduce_sum(&square, &[1], false)?;
//! let slope = gradient(&mut graph, &energy, &z)?;
//! graph.output("energy", &energy)?;
//! graph.output("slope", &slope)?;
//! # Ok::<(), lfbm_bundle::onnx::GraphError>(())
//! ```

mod build;
mod codec;
mod fuse;
mod geometry;
mod gradient;
mod graph;
mod half;
mod import;
mod missing;
mod ops;
mod program;
mod proto;
mod rewrite;

pub use build::ConvGeometry;
pub(crate) use codec::decode_shapes;
pub use codec::{DecodeError, External, ExternalData, Signature, decode, encode, signature};
pub(crate) use geometry::Geometry;
pub use gradient::{differentiable_ops, gradient, pullback};
pub use graph::{
    Attribute, Constant, Dim, ElementType, Graph, GraphError, Node, Shape, Value, ValueType,
};
pub use import::{Imported, import};
pub(crate) use program::{Binary, Instruction, Layout, Operand, Operation, Program, Source, Unary};
pub(crate) use rewrite::{FUSION, INPUT, Movable, PROGRAM, Rewriter, SLOPE};

/// The operator set that graphs are written in.
pub const OPSET: i64 = 17;
