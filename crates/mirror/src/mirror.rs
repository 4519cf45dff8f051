use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use lfbm_atomic_files::{ScratchDir, write_whole};
use lfbm_bundle::{Bundle, parse_manifest, valid_name};
use lfbm_object_storage::{Bucket, Place};
use sha2::{Digest, Sha256};

use crate::MirrorError;
use crate::cache::Cache;
use crate::download::{DRAFT, download};
use crate::remote::{self, MANIFEST, Remote, hex};

/// The fingerprint of the objects that a bundle was made of is in a file of the bundle's name after this.
const SOURCE: &str = ".source-";
/// A bundle that is replaced has its name after this, for a moment.
const OLD: &str = ".old-";
/// How long a listing may take: other places wait for it.
const LISTING_TIME: Duration = Duration::from_secs(60);
/// As much of a URL is in the name of a folder.
const SLUG_CHARS: usize = 80;

/// A folder with the bundles of a place.
#[derive(Debug)]
pub struct Mirror {
    place: Place,
    bucket: Bucket,
    cache: Arc<Cache>,
    folder: PathBuf,
    /// Bundles that cannot be had, by name.
    refused: BTreeMap<String, Refusal>,
}

#[derive(Debug)]
struct Refusal {
    /// Of the objects that are wrong; `None` where the same ones may do at another time.
    fingerprint: Option<String>,
    error: Arc<MirrorError>,
}

/// A bundle that is in the store and cannot be had.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Its URL.
    pub bundle: String,
    /// What is wrong with it.
    pub error: Arc<MirrorError>,
}

impl Mirror {
    /// A mirror of a place in the bucket, in a folder of the cache, with what an earlier process left there. A
    /// bundle that was damaged since is downloaded again by the next [`Self::sync`]. It connects to nothing yet.
    ///
    /// # Errors
    /// When the cache cannot be written to.
    pub fn new(place: Place, bucket: Bucket, cache: Arc<Cache>) -> Result<Self, MirrorError> {
        let folder = cache.folder().join(folder_name(&place));
        fs::create_dir_all(&folder).map_err(MirrorError::io(&folder))?;
        let mirror = Self {
            place,
            bucket,
            cache,
            folder,
            refused: BTreeMap::new(),
        };
        for name in mirror.entries()? {
            let path = mirror.folder.join(&name);
            if let Some(bundle) = name.strip_prefix(OLD) {
                let target = mirror.folder.join(bundle);
                if !target.exists() {
                    // The process ended before the new one was in its place.
                    fs::rename(&path, &target).map_err(MirrorError::io(&path))?;
                }
            }
            if name.starts_with(DRAFT) || name.starts_with(OLD) {
                remove(&path)?;
            }
            if !name.starts_with('.') && path.is_dir() && is_damaged(&path) {
                tracing::warn!(bundle = %path.display(), "damaged in the cache; to be downloaded again");
                let source = mirror.source(&name);
                gone(&source, fs::remove_file(&source))?;
            }
        }
        Ok(mirror)
    }

    /// The folder of bundles.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it mirrors.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Brings the folder in step with the store: bundles that are gone are removed, and those of which an object has
    /// changed are downloaded and replaced. Returns the bundles that cannot be had; what the folder has of them stays.
    /// They are tried again when an object of theirs changes, when the reason may pass, and if `retry`.
    ///
    /// It writes to the disk as it goes, so it belongs on a thread that may block. Dropped before its end, it leaves
    /// every bundle as it was or as it is in the store.
    ///
    /// # Errors
    /// When the store cannot be listed, which leaves the folder as it was, or the disk fails.
    pub async fn sync(&mut self, retry: bool) -> Result<Vec<Refused>, MirrorError> {
        let listed = remote::find(&self.bucket, &self.place);
        let there = tokio::time::timeout(LISTING_TIME, listed).await;
        let there = there.map_err(|_| {
            let reason = format!("expected a listing within {} s", LISTING_TIME.as_secs());
            MirrorError::invalid(&self.place, reason)
        })??;
        self.refused
            .retain(|name, _| there.contains_key(name) && !retry);
        self.remove_others(&there).await?;
        for (name, remote) in &there {
            let fingerprint = remote.fingerprint();
            if self.has(name, &fingerprint) {
                self.refused.remove(name);
                continue;
            }
            let refusal = self.refused.get(name);
            if refusal.is_some_and(|refusal| refusal.fingerprint.as_ref() == Some(&fingerprint)) {
                continue;
            }
            match self.bring(name, remote, &fingerprint).await {
                Ok(()) => {
                    self.refused.remove(name);
                }
                Err(error) => {
                    let refusal = Refusal {
                        fingerprint: (!error.is_passing()).then_some(fingerprint),
                        error: Arc::new(error),
                    };
                    self.refused.insert(name.clone(), refusal);
                }
            }
        }
        let refused = self.refused.iter().filter_map(|(name, refusal)| {
            Some(Refused {
                bundle: there.get(name)?.place.to_string(),
                error: Arc::clone(&refusal.error),
            })
        });
        Ok(refused.collect())
    }

    /// Puts a bundle into the folder, where an older one may be.
    async fn bring(
        &self,
        name: &str,
        remote: &Remote,
        fingerprint: &str,
    ) -> Result<(), MirrorError> {
        if !valid_name(name) {
            let reason = "expected a name of 1 to 64 letters, digits, '-', '_' or '.'";
            return Err(MirrorError::invalid(&remote.place, reason));
        }
        let draft = download(&self.bucket, remote, &self.cache, &self.folder).await?;
        let old = self.folder.join(format!("{OLD}{name}"));
        replace(draft, &self.folder.join(name), &old)?;
        let source = self.source(name);
        write_whole(&source, fingerprint.as_bytes()).map_err(MirrorError::io(&source))
    }

    /// Removes bundles that the store does not have any more.
    async fn remove_others(&self, there: &BTreeMap<String, Remote>) -> Result<(), MirrorError> {
        for name in self.entries()? {
            let path = self.folder.join(&name);
            if !name.starts_with('.') && !there.contains_key(&name) && path.is_dir() {
                self.check_gone(&name).await?;
                remove(&path)?;
                // Without its bundle it says nothing.
                let _ = fs::remove_file(self.source(&name));
            }
        }
        Ok(())
    }

    /// Asks for the manifest of a bundle that a listing does not name. What answers in a store's place, such as the
    /// page of a proxy, can look like an empty listing, but does not say that an object is missing.
    async fn check_gone(&self, name: &str) -> Result<(), MirrorError> {
        let inside = self.place.key().clone().join(name);
        let itself = (name == self.place.name()).then(|| self.place.key().clone());
        for bundle in [inside].into_iter().chain(itself) {
            let manifest = remote::file(&self.place.with_key(bundle), MANIFEST);
            if self.bucket.has(manifest.key()).await? {
                let reason = "a listing does not name it, and it is there";
                return Err(MirrorError::invalid(manifest, reason));
            }
        }
        Ok(())
    }

    /// Whether the bundle of this name was made of objects with this fingerprint.
    fn has(&self, name: &str, fingerprint: &str) -> bool {
        let source = fs::read(self.source(name)).unwrap_or_default();
        source == fingerprint.as_bytes() && self.folder.join(name).is_dir()
    }

    fn source(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{SOURCE}{name}"))
    }

    fn entries(&self) -> Result<Vec<String>, MirrorError> {
        let entries = fs::read_dir(&self.folder).map_err(MirrorError::io(&self.folder))?;
        let names = entries.flatten().map(|entry| entry.file_name());
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }
}

/// The folder of a place: what people read, and a digest that no other place has.
fn folder_name(place: &Place) -> String {
    let place = place.to_string();
    let slug = place.replace("://", "-");
    let slug = slug.chars().take(SLUG_CHARS).map(|c| match c {
        c if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') => c,
        _ => '-',
    });
    let digest = hex(&Sha256::digest(&place)[..8]);
    format!("{}-{digest}", slug.collect::<String>())
}

/// Whether the bundle in a folder is not what its manifest says.
fn is_damaged(folder: &Path) -> bool {
    let Ok(text) = fs::read(folder.join(MANIFEST)) else {
        return true;
    };
    let Ok(manifest) = parse_manifest(&text) else {
        return true;
    };
    let mut files = manifest.files.keys();
    files.any(|name| Bundle::read_file(folder, &manifest, name).is_err())
}

/// Puts a folder where another may be, which goes to `old` for a moment.
fn replace(draft: ScratchDir, target: &Path, old: &Path) -> Result<(), MirrorError> {
    if target.exists() {
        remove(old)?;
        fs::rename(target, old).map_err(MirrorError::io(target))?;
    }
    fs::rename(draft.path(), target).map_err(MirrorError::io(target))?;
    draft.keep();
    remove(old)
}

/// Removes a folder, if it is there.
fn remove(folder: &Path) -> Result<(), MirrorError> {
    gone(folder, fs::remove_dir_all(folder))
}

/// What a removal ended with; what was not there is gone, too.
fn gone(path: &Path, removed: io::Result<()>) -> Result<(), MirrorError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(MirrorError::io(path)(error)),
        _ => Ok(()),
    }
}
