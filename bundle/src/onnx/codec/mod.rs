//! Graphs to and from the bytes of `.onnx` files.

mod decode;
mod encode;

pub(crate) use decode::decode_shapes;
pub use decode::{DecodeError, Signature, decode, signature};
pub(super) use decode::{Model, read};
pub use encode::{ExternalData, encode};
