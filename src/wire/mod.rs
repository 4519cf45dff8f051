//! Between the messages of the wire and requests of our own: compression, sizes, and messages as
//! [drafts](crate::request::Draft). Nothing here grows with what a client claims.

mod draft;
mod encoding;
pub mod open_inference;
mod scan;
mod schema;
mod timeout;

pub use self::draft::{
    explain_draft, image, image_form, inpaint_draft, mask, parameters, score_draft,
};
pub use self::encoding::{DecompressError, Encoding, UnknownEncoding};
pub use self::scan::{Scan, Unfit};
pub use self::schema::{Method, Schema};
pub use self::timeout::{timeout, timeout_in};
