use std::io;
use std::path::{Path, PathBuf};

use lfbm_object_storage::StorageError;

/// Why bundles of object storage cannot be mirrored.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The store does not have what is asked of it, or does not answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A bundle is not what its manifest says.
    #[error("{object}: {reason}")]
    Invalid {
        /// The object that is wrong, as a URL.
        object: String,
        /// What was expected, and what came.
        reason: String,
    },
    /// The cache has no room for a bundle.
    #[error(
        "{bundle}: it has {needed} bytes, and of the {limit} that the cache may hold {used} are in use; raise \
         --bundle-cache-bytes"
    )]
    Full {
        /// The bundle, as a URL.
        bundle: String,
        /// Its size in bytes.
        needed: u64,
        /// Bytes that are in the cache.
        used: u64,
        /// Bytes that may be in the cache.
        limit: u64,
    },
    /// Another process uses the cache.
    #[error("{}: another server uses this cache; give each server a folder of its own", .0.display())]
    Locked(PathBuf),
    /// The disk of the cache fails.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was to be read or written.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl MirrorError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn invalid(object: impl ToString, reason: impl Into<String>) -> Self {
        Self::Invalid {
            object: object.to_string(),
            reason: reason.into(),
        }
    }

    /// Whether the same objects may do at another time.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Storage(_) | Self::Full { .. } | Self::Io { .. })
    }
}
