//! What of an output was delivered, in a file beside it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lfbm_atomic_files::write_whole;
use serde::{Deserialize, Serialize};

const SUFFIX: &str = ".delivered";

/// The end of the last line that was delivered.
pub(super) struct Delivered {
    path: PathBuf,
    record: Record,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    bytes: u64,
}

impl Delivered {
    /// As it was recorded; nothing, if there is no record.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub(super) fn beside(output: &Path) -> anyhow::Result<Self> {
        let mut path = output.as_os_str().to_owned();
        path.push(SUFFIX);
        let path = PathBuf::from(path);
        let name = || {
            format!(
                "{}: expected what lfbm watch wrote there; remove it to send every line again",
                path.display()
            )
        };
        let record = match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).with_context(name)?,
            Err(error) if error.kind() == ErrorKind::NotFound => Record::default(),
            Err(error) => return Err(error).with_context(name),
        };
        Ok(Self { path, record })
    }

    pub(super) fn bytes(&self) -> u64 {
        self.record.bytes
    }

    /// So many bytes more were delivered.
    pub(super) fn add(&mut self, bytes: u64) {
        self.record.bytes += bytes;
    }

    /// Puts it on the disk.
    ///
    /// # Errors
    /// When that fails.
    pub(super) fn record(self) -> anyhow::Result<Self> {
        let text = serde_json::to_string(&self.record)?;
        write_whole(&self.path, text.as_bytes())
            .with_context(|| self.path.display().to_string())?;
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("out.jsonl");
        let mut delivered = Delivered::beside(&output).unwrap();
        assert_eq!(delivered.bytes(), 0);
        delivered.add(40);
        delivered.add(2);
        delivered.record().unwrap();
        assert_eq!(Delivered::beside(&output).unwrap().bytes(), 42);
        fs::write(folder.path().join("out.jsonl.delivered"), "x").unwrap();
        let error = Delivered::beside(&output).err().unwrap().to_string();
        assert!(error.contains("out.jsonl.delivered: expected"), "{error}");
    }
}
