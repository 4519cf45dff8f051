//! Objects in S3, Google Cloud Storage and Azure Blob Storage.
//!
//! A [`Place`] is what a URL such as `s3://BUCKET/KEY` names. A [`Bucket`] lists and reads what lies there, and
//! neither takes more than its caller allows.
//!
//! Credentials come from the environment, by the variables of each store's own tools, and appear in no error.
#![forbid(unsafe_code)]

mod bounded;
mod bucket;
mod client;
mod error;
mod place;
mod reason;

pub use bucket::{Bucket, Object};
pub use error::{Problem, StorageError};
pub use object_store::path::Path as Key;
pub use place::Place;
