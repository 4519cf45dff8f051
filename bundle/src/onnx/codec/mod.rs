//! Graphs to and from the bytes of `.onnx` files.

mod decode;
mod encode;
mod tensor;

pub(crate) use decode::decode_shapes;
pub use decode::{DecodeError, Signature, decode, signature};
pub(super) use decode::{content, is_standard, read_info, read_node, whole_tensor};
pub use encode::{ExternalData, encode};
pub use tensor::External;
pub(super) use tensor::{Elements, read_tensor};
