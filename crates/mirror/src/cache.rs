use std::fs::{DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::MirrorError;

const LOCK: &str = ".lock";

/// A folder that mirrors share. One process at a time has it.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    max_bytes: u64,
    /// Locked until the cache is dropped, or the process ends.
    _lock: File,
}

impl Cache {
    /// Opens the folder, or creates it for the user of this process alone. It may hold `max_bytes`.
    ///
    /// # Errors
    /// When the folder cannot be written to, or another process has it.
    pub fn open(folder: &Path, max_bytes: u64) -> Result<Self, MirrorError> {
        let mut builder = DirBuilder::new();
        let created = builder.recursive(true).mode(0o700).create(folder);
        created.map_err(MirrorError::io(folder))?;
        let path = folder.join(LOCK);
        let mut options = File::options();
        let lock = options.write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(MirrorError::io(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(MirrorError::Locked(folder.to_path_buf())),
            Err(TryLockError::Error(source)) => return Err(MirrorError::io(&path)(source)),
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            max_bytes,
            _lock: lock,
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Refuses a bundle that has no room beside all that is there.
    pub(crate) fn check_room(&self, bundle: &str, needed: u64) -> Result<(), MirrorError> {
        let files = WalkDir::new(&self.folder).into_iter().flatten();
        let sizes = files.filter_map(|file| file.metadata().ok().filter(|file| file.is_file()));
        let used: u64 = sizes.map(|file| file.len()).sum();
        if used.saturating_add(needed) > self.max_bytes {
            return Err(MirrorError::Full {
                bundle: bundle.to_owned(),
                needed,
                used,
                limit: self.max_bytes,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_has_a_cache() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("new/cache");
        let first = Cache::open(&folder, 0).unwrap();
        let error = Cache::open(&folder, 0).unwrap_err();
        assert!(matches!(error, MirrorError::Locked(_)), "{error}");
        drop(first);
        Cache::open(&folder, 0).unwrap();
    }
}
