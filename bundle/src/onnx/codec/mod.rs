//! Graphs to and from the bytes of `.onnx` files.

mod decode;
mod encode;

pub(crate) use decode::decode_shapes;
pub use decode::{DecodeError, Signature, decode, signature};
pub(super) use decode::{Model, is_standard, read};
pub use encode::{ExternalData, encode};
