//! Between the messages of the wire and what the server computes with. Everything that a request
//! can get wrong is found here, before it costs anything.

mod encoding;
mod form;
mod image;
mod inference;
mod mask;
pub mod open_inference;
mod priority;
mod scan;
mod schema;
mod tensor;
mod text;
mod timeout;

pub use self::encoding::{Encoding, UnknownEncoding, UnpackError};
pub use self::form::image_form;
pub use self::image::{decode, decode_bytes};
pub use self::inference::{Limits, parameters, sample_count};
pub use self::mask::decode_mask;
pub use self::priority::priority;
pub use self::scan::{Scan, Unfit};
pub use self::schema::{Method, Schema};
pub use self::text::{cut, id, shorten};
pub use self::timeout::{timeout, timeout_in};

/// One field that is wrong, as `google.rpc.BadRequest` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request.
    pub field: &'static str,
    /// What was expected and what came.
    pub description: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: &'static str, description: impl Into<String>) -> Self {
        Self {
            field,
            description: description.into(),
        }
    }
}
