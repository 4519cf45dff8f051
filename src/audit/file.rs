//! A file that lines are appended to, and that is renamed when it is full.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// For the owner alone.
const MODE: u32 = 0o600;

/// Appends lines to a file. A regular file is renamed when it is full; a pipe or a device never is.
pub(super) struct RotatingFile {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    /// `None` after a rename, until there is a new one.
    open: Option<Open>,
}

struct Open {
    file: File,
    /// `None` for a pipe or a device.
    bytes: Option<u64>,
}

impl RotatingFile {
    /// Opens or creates the file; waits for a reader if it is a pipe.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn open(path: &Path, max_bytes: u64, keep: u32) -> io::Result<Self> {
        Ok(Self {
            path: path.to_path_buf(),
            max_bytes,
            keep,
            open: Some(Open::at(path)?),
        })
    }

    /// Whether a line of `line` bytes is too long for the file, with `waiting` bytes before it; an empty
    /// file takes any line.
    pub(super) fn is_full(&self, waiting: usize, line: usize) -> bool {
        let written = self.open.as_ref().and_then(|open| open.bytes);
        written.is_some_and(|written| {
            let before = written.saturating_add(waiting as u64);
            before > 0 && before.saturating_add(line as u64) > self.max_bytes
        })
    }

    /// Renames the file and begins a new one. May be called again after an error.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        if self.open.is_some() {
            // Files up to the first gap make room: a rotation that failed has left one, and no file is lost
            // to the next attempt.
            let mut numbers = 1..self.keep;
            let gap = numbers.find(|number| !self.numbered(*number).exists());
            for number in (1..gap.unwrap_or(self.keep)).rev() {
                fs::rename(self.numbered(number), self.numbered(number + 1))?;
            }
            fs::rename(&self.path, self.numbered(1))?;
            self.open = None;
        }
        self.open = Some(Open::at(&self.path)?);
        Ok(())
    }

    /// Writes some of `bytes`; says how many.
    ///
    /// # Errors
    /// When the system refuses all of them.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let open = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(Open::at(&self.path)?),
        };
        let count = open.file.write(bytes)?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        open.bytes = open.bytes.map(|written| written + count as u64);
        Ok(count)
    }

    /// Returns when what was written is on the disk.
    ///
    /// # Errors
    /// When the system says that it is not.
    pub(super) fn sync(&self) -> io::Result<()> {
        match &self.open {
            Some(Open {
                file,
                bytes: Some(_),
            }) => file.sync_all(),
            _ => Ok(()),
        }
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let is_special = fs::metadata(path).is_ok_and(|found| !found.is_file());
        let mut options = OpenOptions::new();
        options.append(true).mode(MODE);
        if is_special {
            let file = options.open(path)?;
            return Ok(Self { file, bytes: None });
        }
        let mut file = options.read(true).create(true).open(path)?;
        let found = file.metadata()?;
        if found.permissions().mode() & 0o777 != MODE {
            file.set_permissions(Permissions::from_mode(MODE))?;
        }
        let mut bytes = found.len();
        if bytes > 0 && last_byte(&mut file)? != b'\n' {
            // Whoever wrote it last did not come to the end of a line.
            file.write_all(b"\n")?;
            bytes += 1;
        }
        Ok(Self {
            file,
            bytes: Some(bytes),
        })
    }
}

fn last_byte(file: &mut File) -> io::Result<u8> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_are_renamed_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let mut file = RotatingFile::open(&path, 10, 2).unwrap();
        for line in ["aaaaaa\n", "bbbbbb\n", "cccccc\n", "dddddd\n"] {
            if file.is_full(0, line.len()) {
                file.rotate().unwrap();
            }
            assert_eq!(file.write(line.as_bytes()).unwrap(), line.len());
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("audit"), "dddddd\n");
        assert_eq!(read("audit.1"), "cccccc\n");
        assert_eq!(read("audit.2"), "bbbbbb\n");
        assert!(!folder.path().join("audit.3").exists());
        for name in ["audit", "audit.1", "audit.2"] {
            assert_eq!(mode(&folder.path().join(name)), MODE, "{name}");
        }
    }

    #[test]
    fn a_rotation_that_failed_loses_no_file_when_it_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        let mut file = RotatingFile::open(&path, 1, 3).unwrap();
        file.write(b"new\n").unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("audit.1"), "old\n").unwrap();
        // The file cannot be renamed while it is not there.
        fs::rename(&path, at("aside")).unwrap();
        for _ in 0..5 {
            file.rotate().unwrap_err();
        }
        fs::rename(at("aside"), &path).unwrap();
        file.rotate().unwrap();
        assert_eq!(fs::read_to_string(at("audit.1")).unwrap(), "new\n");
        assert_eq!(fs::read_to_string(at("audit.2")).unwrap(), "old\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn a_line_begins_after_one_that_was_torn_and_others_may_not_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit");
        fs::write(&path, "whole\ntor").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let mut file = RotatingFile::open(&path, 100, 1).unwrap();
        file.write(b"next\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\ntor\nnext\n");
        assert_eq!(mode(&path), MODE);
    }
}
