//! Output folders and files of a command, created and tested before the work begins.

use std::fs;
use std::io::{self, Cursor};
use std::path::{Component, Path, PathBuf, absolute};

use image::{DynamicImage, ImageFormat};
use lfbm_atomic_files::{ScratchDir, ScratchFile, changing, folder_of};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// The prefix of temporary folders.
const TEMPORARY: &str = ".trainer-";

/// Why output cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The system refused.
    #[error("{} cannot be written to, name another place: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path cannot be used.
    #[error("{} {reason}", path.display())]
    Taken {
        /// The path.
        path: PathBuf,
        /// Why, and what to do.
        reason: &'static str,
    },
}

fn unwritable(path: &Path) -> impl Fn(io::Error) -> OutputError {
    let path = path.to_path_buf();
    move |source| OutputError::Io {
        path: path.clone(),
        source,
    }
}

/// Creates a folder, and tests that files can be written to it.
///
/// # Errors
/// When they cannot.
pub fn prepare_folder(folder: &Path) -> Result<(), OutputError> {
    scratch_in(folder).map(drop)
}

/// Whether `path` is `folder` or in it, also by links and `..`; neither has to be there.
///
/// # Errors
/// When one is empty, or there is no current folder.
pub fn is_within(path: &Path, folder: &Path) -> io::Result<bool> {
    Ok(real(path)?.starts_with(real(folder)?))
}

/// The path without links and `..`.
fn real(path: &Path) -> io::Result<PathBuf> {
    let path = absolute(path)?;
    let mut ancestors = path.ancestors();
    let there = ancestors.find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    let Some((there, mut real)) = there else {
        return Ok(path);
    };
    // What is not there has no links.
    for part in path.strip_prefix(there).unwrap_or(&path).components() {
        if part == Component::ParentDir {
            real.pop();
        } else {
            real.push(part);
        }
    }
    Ok(real)
}

fn scratch_in(folder: &Path) -> Result<ScratchDir, OutputError> {
    fs::create_dir_all(folder).map_err(unwritable(folder))?;
    let scratch = ScratchDir::new_in(folder, TEMPORARY).map_err(unwritable(folder))?;
    let probe = scratch.path().join("probe");
    fs::write(&probe, "a disk that is full takes no byte")
        .and_then(|()| fs::remove_file(&probe))
        .map_err(unwritable(folder))?;
    Ok(scratch)
}

/// Creates the folder of a file, and tests that the file can be written there.
///
/// # Errors
/// When it cannot.
pub fn prepare_file(file: &Path) -> Result<(), OutputError> {
    let taken = |reason| {
        Err(OutputError::Taken {
            path: file.to_path_buf(),
            reason,
        })
    };
    if file.file_name().is_none() {
        return taken("is no name for a file; choose another");
    }
    if file.exists() && !file.is_file() {
        return taken("exists and is not a file; name another");
    }
    prepare_folder(folder_of(file))?;
    // The temporary name is longer: a file system may refuse it.
    ScratchFile::beside(file)
        .map(drop)
        .map_err(unwritable(file))
}

/// Takes room for a file of so many bytes beside where it is to be, and gives it back.
///
/// # Errors
/// When there is not so much.
pub fn try_room(file: &Path, bytes: u64) -> std::io::Result<()> {
    let draft = ScratchFile::beside(file)?;
    let opened = fs::OpenOptions::new().write(true).open(draft.path())?;
    match fallocate(&opened, FallocateFlags::empty(), 0, bytes) {
        // Some file systems do not know how.
        Err(Errno::NOTSUP | Errno::NOSYS) => Ok(()),
        taken => Ok(taken?),
    }
}

/// Writes a picture as a PNG file. (`DynamicImage::save` does not say when its last bytes do not fit on
/// the disk.)
///
/// # Errors
/// When the disk fails.
pub fn write_png(path: &Path, picture: impl Into<DynamicImage>) -> Result<(), OutputError> {
    let mut png = Cursor::new(Vec::new());
    let encoded = picture.into().write_to(&mut png, ImageFormat::Png);
    encoded
        .map_err(std::io::Error::other)
        .and_then(|()| fs::write(path, png.into_inner()))
        .map_err(unwritable(path))
}

/// Files that appear in a folder all at once, when they are complete.
#[derive(Debug)]
pub struct OutputFolder {
    folder: PathBuf,
    scratch: ScratchDir,
}

impl OutputFolder {
    /// Creates `folder` if it does not exist, and a temporary folder for incomplete files.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn prepare(folder: &Path) -> Result<Self, OutputError> {
        Ok(Self {
            folder: folder.to_path_buf(),
            scratch: scratch_in(folder)?,
        })
    }

    /// The destination.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the file `name` is written.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Writes the file `name`.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&self, name: &str, text: &str) -> Result<(), OutputError> {
        fs::write(self.file(name), text).map_err(unwritable(&self.folder.join(name)))
    }

    /// Moves the files to the destination, over files of the same names.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn publish(self) -> Result<(), OutputError> {
        let _changing = changing();
        for entry in fs::read_dir(self.scratch.path()).map_err(unwritable(&self.folder))? {
            let entry = entry.map_err(unwritable(&self.folder))?;
            let target = self.folder.join(entry.file_name());
            fs::rename(entry.path(), &target).map_err(unwritable(&target))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_made_or_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        prepare_folder(&folder.path().join("a/b")).unwrap();
        prepare_file(&folder.path().join("c/d.checkpoint")).unwrap();
        prepare_file(&file).unwrap();
        for error in [
            prepare_folder(&file).unwrap_err(),
            prepare_folder(&file.join("below")).unwrap_err(),
            prepare_file(&file.join("below")).unwrap_err(),
            prepare_file(folder.path()).unwrap_err(),
        ] {
            let path = folder.path().display().to_string();
            assert!(error.to_string().contains(&path), "{error}");
        }
    }

    #[test]
    fn files_come_all_together() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("report");
        let output = OutputFolder::prepare(&out).unwrap();
        output.write("a.txt", "a").unwrap();
        fs::write(output.file("b.txt"), "b").unwrap();
        assert!(!out.join("a.txt").exists());
        output.publish().unwrap();
        let mut names: Vec<_> = fs::read_dir(&out)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["a.txt", "b.txt"]);
    }
}
