//! The output, which is also the record of what is done.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use lfbm_atomic_files::folder_of;
use serde::Deserialize;

use super::version::Id;

/// Of a line; one has the regions of an image at most.
pub(super) const MAX_LINE_BYTES: u64 = 16 << 20;
/// How every line begins.
const START: &[u8] = b"{\"";

/// Lines of JSON, one a version of a file. A line counts once it is on the disk.
pub(super) struct Journal {
    /// Locked until the process ends.
    file: File,
    path: PathBuf,
    bytes: u64,
}

/// What was in it.
pub(super) struct Recorded {
    pub(super) done: HashSet<Id>,
    /// How many lines come after the offset that was asked for.
    pub(super) lines_after: u64,
}

/// The part of a line that says what was done.
#[derive(Deserialize)]
struct Line {
    id: String,
}

impl Journal {
    /// Opens or creates the file, locks it, and cuts off a last line that was not written to its end.
    /// `offset` is the end of a line of it.
    ///
    /// # Errors
    /// When another process has the lock, or the lines are not those of `lfbm watch`.
    pub(super) fn open(path: &Path, offset: u64) -> anyhow::Result<(Self, Recorded)> {
        let name = || path.display().to_string();
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .with_context(name)?;
        ensure!(
            file.metadata().with_context(name)?.is_file(),
            "--out {}: expected a file, got a pipe, device or folder",
            path.display()
        );
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "--out {}: another lfbm watch writes to this file; end it, or name another file",
                path.display()
            ),
            Err(TryLockError::Error(error)) => return Err(error).with_context(name),
        }
        let (bytes, recorded) = read(&file, path, offset)?;
        file.set_len(bytes).with_context(name)?;
        file.sync_all().with_context(name)?;
        // So that its name is on the disk, too.
        let folder = File::open(folder_of(path)).with_context(name)?;
        folder.sync_all().with_context(name)?;
        let path = path.to_path_buf();
        Ok((Self { file, path, bytes }, recorded))
    }

    /// Adds whole lines, and returns once they are on the disk; the bytes of all lines then.
    ///
    /// # Errors
    /// When the disk fails, or the file is no longer the one at its path.
    pub(super) fn append(&mut self, lines: &[u8]) -> anyhow::Result<u64> {
        let name = || self.path.display().to_string();
        let (open, present) = (self.file.metadata(), fs::metadata(&self.path));
        let same = match (open.with_context(name)?, present) {
            (open, Ok(present)) => (open.dev(), open.ino()) == (present.dev(), present.ino()),
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => false,
            (_, Err(error)) => return Err(error).with_context(name),
        };
        ensure!(
            same,
            "{}: the file was moved, replaced or removed while it was written to; start again",
            self.path.display()
        );
        let written = self.file.write_all(lines);
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            // What is there of these lines does not count.
            let _ = self.file.set_len(self.bytes);
            return Err(error).with_context(name);
        }
        self.bytes += lines.len() as u64;
        Ok(self.bytes)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Reads all lines; where the last whole one ends.
fn read(file: &File, path: &Path, offset: u64) -> anyhow::Result<(u64, Recorded)> {
    let foreign = |line: u64| {
        format!(
            "--out {}: expected lines of lfbm watch, got something else in line {line}; name another file",
            path.display()
        )
    };
    let mut reader = BufReader::new(file);
    let mut recorded = Recorded {
        done: HashSet::new(),
        lines_after: 0,
    };
    let (mut end, mut number) = (0, 0);
    let mut offset_is_an_end = offset == 0;
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = reader.by_ref().take(MAX_LINE_BYTES);
        let read = limited.read_until(b'\n', &mut line);
        let length = read.with_context(|| path.display().to_string())? as u64;
        let whole = line.ends_with(b"\n");
        if length == 0 {
            break;
        }
        let first = number == 0;
        number += 1;
        if !whole {
            let ours = line.starts_with(START) || START.starts_with(&line);
            ensure!(length < MAX_LINE_BYTES && (ours || !first), foreign(number));
            break;
        }
        let Some(id) = id_in(&line) else {
            // A loss of power can leave zeros where lines were that did not count yet.
            ensure!(!first && line.contains(&0), foreign(number));
            break;
        };
        recorded.done.insert(id);
        end += length;
        offset_is_an_end |= end == offset;
        recorded.lines_after += u64::from(end > offset);
    }
    ensure!(
        offset_is_an_end,
        "--out {}: {offset} bytes of it were sent to the webhook, and no line ends there, so it is another \
         file; remove the .delivered file beside it to send every line",
        path.display()
    );
    Ok((end, recorded))
}

/// The id of a line.
pub(super) fn id_in(line: &[u8]) -> Option<Id> {
    let line: Line = serde_json::from_slice(line).ok()?;
    line.id.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u8) -> String {
        format!("{{\"id\":\"{id:032x}\",\"image\":\"a.png\"}}\n")
    }

    #[test]
    fn a_torn_last_line_is_cut_off_wherever_it_was_torn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let whole = line(1) + &line(2);
        let torn = line(3);
        for length in 0..torn.len() {
            fs::write(&path, whole.clone() + &torn[..length]).unwrap();
            let (mut journal, recorded) = Journal::open(&path, 0).unwrap();
            assert_eq!(recorded.done.len(), 2);
            assert_eq!(recorded.lines_after, 2);
            assert_eq!(fs::read_to_string(&path).unwrap(), whole);
            let bytes = journal.append(torn.as_bytes()).unwrap();
            assert_eq!(bytes, (whole.len() + torn.len()) as u64);
            assert_eq!(fs::read_to_string(&path).unwrap(), whole.clone() + &torn);
        }
        // Nothing but a torn line.
        fs::write(&path, &torn[..9]).unwrap();
        assert_eq!(Journal::open(&path, 0).unwrap().0.bytes(), 0);
        // What a loss of power leaves.
        fs::write(&path, whole.clone() + "\0\0\0\0\n" + &torn).unwrap();
        assert_eq!(Journal::open(&path, 0).unwrap().1.done.len(), 2);
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
    }

    #[test]
    fn a_file_of_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        for text in [
            "a text".to_owned(),
            "\0\0\n".to_owned(),
            "{\"image\":\"a.png\"}\n".to_owned(),
            line(1) + "a text\n" + &line(2),
        ] {
            fs::write(&path, &text).unwrap();
            let error = Journal::open(&path, 0).err().unwrap().to_string();
            assert!(error.contains("expected lines of lfbm watch"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn one_process_at_a_time_writes_to_the_file_at_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let (mut first, _) = Journal::open(&path, 0).unwrap();
        let error = Journal::open(&path, 0).err().unwrap().to_string();
        assert!(error.contains("another lfbm watch"), "{error}");
        first.append(line(1).as_bytes()).unwrap();
        fs::rename(&path, folder.path().join("old.jsonl")).unwrap();
        let error = first.append(line(2).as_bytes()).unwrap_err().to_string();
        assert!(error.contains("was moved"), "{error}");
    }

    #[test]
    fn lines_are_counted_after_an_offset_that_ends_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        fs::write(&path, line(1) + &line(2) + &line(3)).unwrap();
        let one = line(1).len() as u64;
        let after = |offset| Journal::open(&path, offset).map(|(_, recorded)| recorded.lines_after);
        assert_eq!(after(0).unwrap(), 3);
        assert_eq!(after(one).unwrap(), 2);
        assert_eq!(after(3 * one).unwrap(), 0);
        for offset in [1, one - 1, 4 * one] {
            let error = after(offset).unwrap_err().to_string();
            assert!(error.contains("another file"), "{error}");
        }
    }
}
