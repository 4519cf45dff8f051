//! The bundle on disk: a folder that is there whole or not at all.

mod reader;
mod writer;

pub use reader::{Bundle, OpaqueGraph, parse_manifest};
pub use writer::{BundleSpec, StagedBundle, check_out};

use std::io;
use std::path::{Path, PathBuf};

use crate::onnx::{DecodeError, GraphError};
use crate::runtime::RuntimeError;

const MANIFEST: &str = "manifest.json";
const CALIBRATION: &str = "calibration.bin";
pub(crate) const WEIGHTS: &str = "weights.bin";
/// Graphs of every bundle by file name, without the extension.
const GRAPHS: [&str; 4] = ["preprocess", "generator", "flow", "posterior"];
/// That of a bundle whose prior can be sampled, which an energy always can.
const PRIOR: &str = "prior";
/// That of a bundle whose chains start at it.
const ENCODER: &str = "encoder";

/// Why a bundle cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file is not what it must be.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing can be made in a folder.
    #[error("{} cannot be written to, name another place: {source}", path.display())]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The place to write to is taken.
    #[error("{}: {reason}", path.display())]
    Taken {
        /// The place.
        path: PathBuf,
        /// What is there, and what to do.
        reason: &'static str,
    },
    /// A whole bundle could not be put in its place.
    #[error("{reason}; the bundle is whole in {}: move it to another place", staged.display())]
    Unplaced {
        /// Where it is.
        staged: PathBuf,
        /// Why it stays there.
        reason: Box<BundleError>,
    },
    /// What was to be written makes no bundle.
    #[error("the bundle cannot be written: {0}")]
    Spec(String),
    /// The posterior could not be derived.
    #[error("the posterior cannot be derived from generator and flow: {0}")]
    Graph(#[from] GraphError),
    /// A graph could not be run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl BundleError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    fn invalid(path: &Path, reason: impl Into<String>) -> Self {
        Self::Invalid {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }

    fn decode(path: &Path) -> impl FnOnce(DecodeError) -> Self {
        move |error| Self::invalid(path, error.to_string())
    }
}

fn graph_file(graph: &str) -> String {
    format!("{graph}.onnx")
}

fn sha256_hex(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    use std::fmt::Write;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing to a string does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// A name that is safe as a folder, a label and a part of an address.
fn valid_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.')
}
