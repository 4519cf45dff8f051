//! Graphs to and from the bytes of `.onnx` files.

mod decode;
mod encode;
mod tensor;

pub use decode::{DecodeError, Signature, decode, signature};
pub(super) use decode::{content, read_info, read_node, whole_tensor};
pub use decode::{decode_shapes, is_standard};
pub use encode::{ExternalData, encode};
pub use tensor::External;
pub(super) use tensor::{Elements, read_tensor};
