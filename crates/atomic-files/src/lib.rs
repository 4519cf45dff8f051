//! Files and folders that are not whole yet.
//!
//! They lie under temporary names where they belong, and are renamed once they are whole. A process
//! that ends before, [`remove_all`] leaves without them.
#![forbid(unsafe_code)]

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{NamedTempFile, TempDir};

/// What is not whole yet. Whoever creates, renames or removes such a thing holds the lock.
static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Nothing is created, renamed or removed by anybody else while this is held.
pub struct Changing(MutexGuard<'static, Vec<PathBuf>>);

/// Waits until nobody else changes names.
pub fn changing() -> Changing {
    Changing(UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Changing {
    fn forget(&mut self, path: &Path) {
        self.0.retain(|unfinished| unfinished != path);
    }
}

/// Removes what is not whole yet, for a process that ends as soon as it has the guard: what others
/// would rename waits for it.
pub fn remove_all() -> Changing {
    let changing = changing();
    for path in &*changing.0 {
        // Which of the two it is does not matter, nor whether it is still there.
        let _ = fs::remove_dir_all(path).or_else(|_| fs::remove_file(path));
    }
    changing
}

/// A folder that is removed with what it holds, unless it was renamed.
#[derive(Debug)]
pub struct ScratchDir(Option<TempDir>, PathBuf);

impl ScratchDir {
    /// A new folder in `parent`.
    ///
    /// # Errors
    /// When `parent` cannot be written to.
    pub fn new_in(parent: &Path, prefix: &str) -> io::Result<Self> {
        let mut changing = changing();
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent)?;
        let path = folder.path().to_path_buf();
        changing.0.push(path.clone());
        Ok(Self(Some(folder), path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.1
    }

    /// Leaves the folder where it is; the path.
    pub fn keep(mut self) -> PathBuf {
        changing().forget(&self.1);
        self.0.take().map(TempDir::keep);
        self.1.clone()
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        if let Some(folder) = self.0.take() {
            let mut changing = changing();
            drop(folder);
            changing.forget(&self.1);
        }
    }
}

/// A file that is removed, unless it was put in its place.
#[derive(Debug)]
pub struct ScratchFile {
    /// `None` once it is in its place.
    file: Option<NamedTempFile>,
    target: PathBuf,
}

impl ScratchFile {
    /// A new file beside `target`, which it is to become.
    ///
    /// # Errors
    /// When the folder of `target` cannot be written to.
    pub fn beside(target: &Path) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let mut changing = changing();
        let file = tempfile::Builder::new()
            .prefix(&format!(".{name}-"))
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder_of(target))?;
        changing.0.push(file.path().to_path_buf());
        Ok(Self {
            file: Some(file),
            target: target.to_path_buf(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.as_ref().map_or(&self.target, |file| file.path())
    }

    /// Puts the file in its place, on the disk and not only in memory.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn publish(mut self) -> io::Result<()> {
        // Opened by its name: whoever wrote it may have replaced the file.
        File::open(self.path())?.sync_all()?;
        if let Some(file) = self.file.take() {
            let mut changing = changing();
            let path = file.path().to_path_buf();
            let persisted = file.persist(&self.target);
            changing.forget(&path);
            persisted.map_err(|error| error.error)?;
        }
        Ok(())
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            let mut changing = changing();
            let path = file.path().to_path_buf();
            drop(file);
            changing.forget(&path);
        }
    }
}

/// Writes a file whole or not at all.
///
/// # Errors
/// When the disk fails.
pub fn write_whole(target: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = ScratchFile::beside(target)?;
    File::create(file.path())?.write_all(bytes)?;
    file.publish()
}

/// The folder that `path` is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn nothing_is_left_of_what_was_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a.txt");
        write_whole(&target, b"whole").unwrap();
        drop(ScratchFile::beside(&target).unwrap());
        let dropped = ScratchDir::new_in(folder.path(), ".x-").unwrap();
        fs::write(dropped.path().join("b"), "").unwrap();
        drop(dropped);
        assert_eq!(names(folder.path()), ["a.txt"]);
        assert_eq!(fs::read(&target).unwrap(), b"whole");
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_ne!(mode & 0o044, 0, "only the owner reads it");

        let kept = ScratchDir::new_in(folder.path(), ".x-").unwrap().keep();
        assert!(kept.is_dir());
    }
}
