//! Finds bundles on disk, and detects that one has changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
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

/// The bundles at `place`, which is one or a folder of them. Hidden folders are drafts: bundles
/// are written there and then renamed.
///
/// # Errors
/// When the place itself cannot be read.
pub(super) fn find(place: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    if is_bundle(place)? {
        found.add(place.to_path_buf());
        return Ok(found);
    }
    for entry in fs::read_dir(place)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if hidden {
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

/// Whether a folder has a manifest.
fn is_bundle(dir: &Path) -> io::Result<bool> {
    match fs::metadata(dir.join(MANIFEST)) {
        Ok(manifest) => Ok(manifest.is_file()),
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
