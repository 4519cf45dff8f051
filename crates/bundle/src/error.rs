//! Why a bundle cannot be written or used.

use std::io;
use std::path::{Path, PathBuf};

use lfbm_onnx::{DecodeError, GraphError};

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
}

impl BundleError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn invalid(path: &Path, reason: impl Into<String>) -> Self {
        Self::Invalid {
            path: path.to_path_buf(),
            reason: reason.into(),
        }
    }

    pub(crate) fn decode(path: &Path) -> impl FnOnce(DecodeError) -> Self {
        move |error| Self::invalid(path, error.to_string())
    }
}
