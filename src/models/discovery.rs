//! Finds bundles on disk, and detects that one has changed.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

const MANIFEST: &str = "manifest.json";
/// A manifest is far smaller; a larger file is compared by its size.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;

/// Changes when a bundle does; reads its manifest only. Other files of the folder (an editor's
/// lock, a backup, a dangling link) do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(Vec<Named>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    name: String,
    /// `None` for a file that cannot be read.
    file: Option<Seen>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    size_bytes: u64,
    inode: u64,
    /// Change time in seconds and nanoseconds; unlike the modification time, it cannot be set.
    changed: (i64, i64),
}

/// The part of a manifest that says which files there are.
#[derive(Default, Deserialize)]
struct Listing {
    #[serde(default)]
    files: BTreeMap<String, IgnoredAny>,
}

impl Fingerprint {
    /// Of the manifest, and of the files that it names.
    ///
    /// # Errors
    /// When the manifest cannot be seen.
    pub(super) fn of(bundle: &Path) -> io::Result<Self> {
        let manifest = bundle.join(MANIFEST);
        let seen = Seen::of(&manifest)?;
        let mut text = Vec::new();
        File::open(&manifest)?
            .take(MAX_MANIFEST_BYTES)
            .read_to_end(&mut text)?;
        // An invalid manifest names no files; loading refuses it.
        let listing: Listing = serde_json::from_slice(&text).unwrap_or_default();
        let mut named = vec![Named {
            name: MANIFEST.to_owned(),
            file: Some(seen),
        }];
        named.extend(listing.files.into_keys().map(|name| Named {
            file: Seen::of(&bundle.join(&name)).ok(),
            name,
        }));
        Ok(Self(named))
    }
}

impl Seen {
    fn of(path: &Path) -> io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            size_bytes: file.len(),
            inode: file.ino(),
            changed: (file.ctime(), file.ctime_nsec()),
        })
    }
}

/// What lies at a place.
#[derive(Default)]
pub(super) struct Found {
    /// Bundles.
    pub(super) bundles: BTreeMap<PathBuf, Fingerprint>,
    /// Paths that cannot be read; they may be bundles.
    pub(super) unseen: BTreeMap<PathBuf, io::Error>,
}

/// The bundles at `place`, which is one or a folder of them: a manifest without its files beside bundles
/// does not make it one. Hidden folders are drafts: bundles are written there and then renamed.
///
/// # Errors
/// When the place itself cannot be read.
pub(super) fn find(place: &Path) -> io::Result<Found> {
    if place.is_file() {
        let found =
            "expected a bundle (a folder with manifest.json) or a folder of bundles, found a file";
        return Err(io::Error::new(io::ErrorKind::NotADirectory, found));
    }
    let mut found = Found::default();
    let manifest = is_bundle(place);
    if matches!(manifest, Ok(true)) && (is_whole(place) || !has_bundles(place)?) {
        found.add(place.to_path_buf());
        return Ok(found);
    }
    match manifest {
        Ok(false) => {}
        Ok(true) => {
            let reason = "a folder of bundles has no manifest of its own; remove it";
            let error = io::Error::other(reason);
            found.unseen.insert(place.join(MANIFEST), error);
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            found.unseen.insert(place.join(MANIFEST), error);
        }
        Err(error) => return Err(error),
    }
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        if is_hidden(&entry) {
            continue;
        }
        let path = entry.path();
        match is_bundle(&path) {
            Ok(true) => found.add(path),
            Ok(false) => found.look_at(path),
            Err(error) => {
                found.unseen.insert(path, error);
            }
        }
    }
    Ok(found)
}

impl Found {
    fn add(&mut self, bundle: PathBuf) {
        match fs::read_dir(&bundle) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    self.look_at(entry.path());
                }
            }
            Err(error) => {
                self.unseen.insert(bundle.clone(), error);
            }
        }
        match Fingerprint::of(&bundle) {
            Ok(fingerprint) => {
                self.bundles.insert(bundle, fingerprint);
            }
            // It was removed since the folder was listed.
            Err(error) if is_absent(&error) => {}
            Err(error) => {
                self.unseen.insert(bundle, error);
            }
        }
    }

    /// A dangling link, or a folder without permission.
    fn look_at(&mut self, path: PathBuf) {
        if let Err(error) = fs::metadata(&path) {
            self.unseen.insert(path, error);
        }
    }
}

/// Whether all files are there that the manifest of a bundle names.
fn is_whole(bundle: &Path) -> bool {
    Fingerprint::of(bundle).is_ok_and(|Fingerprint(named)| {
        named.len() > 1 && named.iter().all(|named| named.file.is_some())
    })
}

/// Whether there is a bundle in a folder.
fn has_bundles(folder: &Path) -> io::Result<bool> {
    let entries = fs::read_dir(folder)?.flatten();
    let mut entries = entries.filter(|entry| !is_hidden(entry));
    Ok(entries.any(|entry| matches!(is_bundle(&entry.path()), Ok(true))))
}

fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// Whether a folder has a manifest.
fn is_bundle(dir: &Path) -> io::Result<bool> {
    match fs::metadata(dir.join(MANIFEST)) {
        Ok(manifest) if manifest.is_file() => Ok(true),
        Ok(_) => {
            let reason = "its manifest is no file";
            Err(io::Error::new(io::ErrorKind::InvalidData, reason))
        }
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
