//! A model on disk: a folder that is there whole or not at all.
//!
//! * [`manifest`]: what the bundle is;
//! * [`Bundle`]: reading, every file checked by size and SHA-256;
//! * [`StagedBundle`]: writing beside the target, which it replaces at last.
//!
//! It runs nothing: ONNX Runtime is not needed to read a manifest.
#![forbid(unsafe_code)]

mod error;
mod files;
pub mod manifest;
mod names;
mod reader;
mod writer;

pub use error::BundleError;
pub use files::{WEIGHTS, valid_name};
pub use names::ImageNames;
pub use reader::{Bundle, OpaqueGraph, check_x, parse_manifest};
pub use writer::{BundleSpec, StagedBundle, check_out};
