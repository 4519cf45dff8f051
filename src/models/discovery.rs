//! Which bundles there are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Tells a bundle that was touched from one that was not, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<File>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct File {
    name: OsString,
    size_bytes: u64,
    inode: u64,
    /// Seconds and nanoseconds; unlike the time of modification, nobody sets it back.
    changed: (i64, i64),
}

impl Fingerprint {
    pub(super) fn of(bundle: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(bundle)? {
            let entry = entry?;
            let file = fs::metadata(entry.path())?;
            if file.is_file() {
                files.push(File {
                    name: entry.file_name(),
                    size_bytes: file.len(),
                    inode: file.ino(),
                    changed: (file.ctime(), file.ctime_nsec()),
                });
            }
        }
        files.sort();
        Ok(Self(files))
    }
}

/// The bundles at `place`, which is one or a folder of them. Hidden folders are drafts: bundles
/// are written there and then renamed.
pub(super) fn bundles(place: &Path) -> io::Result<BTreeMap<PathBuf, Fingerprint>> {
    let candidates = if is_bundle(place) {
        vec![place.to_path_buf()]
    } else {
        let mut children = Vec::new();
        for entry in fs::read_dir(place)? {
            let entry = entry?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && is_bundle(&entry.path()) {
                children.push(entry.path());
            }
        }
        children
    };
    let mut found = BTreeMap::new();
    for bundle in candidates {
        match Fingerprint::of(&bundle) {
            Ok(fingerprint) => {
                found.insert(bundle, fingerprint);
            }
            // It went between two looks.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn is_bundle(dir: &Path) -> bool {
    dir.join("manifest.json").is_file()
}
