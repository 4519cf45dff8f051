//! Bundles in object storage, mirrored into a folder from which they are served like any others.
//!
//! A [`Mirror`] keeps a folder in step with a [`Place`](lfbm_object_storage::Place), which is a bundle or the parent
//! of bundles. Every file is compared with the size and the SHA-256 of its manifest before the bundle appears, and all
//! mirrors of a [`Cache`] together hold no more bytes than they may.
#![forbid(unsafe_code)]

mod cache;
mod download;
mod error;
mod mirror;
mod remote;

pub use cache::Cache;
pub use error::MirrorError;
pub use mirror::{Mirror, Refused};
