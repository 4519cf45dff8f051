//! Which files are the same.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Size and modification time of a file: what changes when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) size_bytes: u64,
    /// Seconds and nanoseconds, as the file system tells them.
    modified: (i64, i64),
}

impl Stamp {
    pub(super) fn of(file: &Metadata) -> Self {
        Self {
            size_bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
        }
    }

    /// Seconds since 1970 in decimal, exact to the nanosecond.
    pub(super) fn modified(&self) -> String {
        let (seconds, nanoseconds) = self.modified;
        format!("{seconds}.{nanoseconds:09}")
    }
}

/// A file as it is at a moment. One that is written again under its name is another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// From the folder that is watched.
    pub(super) path: PathBuf,
    pub(super) stamp: Stamp,
}

impl Version {
    pub(super) fn id(&self) -> Id {
        Id::of(&self.path, &self.stamp)
    }
}

/// Names a version: the first half of the SHA-256 of path, size and modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id([u8; 16]);

impl Id {
    fn of(path: &Path, stamp: &Stamp) -> Self {
        let mut hash = Sha256::new();
        hash.update(path.as_os_str().as_bytes());
        // No path has this byte.
        hash.update([0]);
        hash.update(stamp.size_bytes.to_le_bytes());
        hash.update(stamp.modified.0.to_le_bytes());
        hash.update(stamp.modified.1.to_le_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A text is no [`Id`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAnId;

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NotAnId);
        }
        let id = u128::from_str_radix(text, 16).map_err(|_| NotAnId)?;
        Ok(Self(id.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_that_of_path_size_and_time() {
        let version = |path: &str, size_bytes, modified| Version {
            path: path.into(),
            stamp: Stamp {
                size_bytes,
                modified,
            },
        };
        let versions = [
            version("a.png", 1, (2, 3)),
            version("b.png", 1, (2, 3)),
            version("a.png", 2, (2, 3)),
            version("a.png", 1, (3, 3)),
            version("a.png", 1, (2, 4)),
        ];
        let ids: std::collections::HashSet<_> = versions.iter().map(Version::id).collect();
        assert_eq!(ids.len(), versions.len());
        let id = versions[0].id();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(versions[0].stamp.modified(), "2.000000003");
        for text in ["", "+123456789012345678901234567890", &"0".repeat(33)] {
            assert_eq!(text.parse::<Id>(), Err(NotAnId), "{text}");
        }
    }
}
