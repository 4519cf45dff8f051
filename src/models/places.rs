//! Where bundles come from: folders, and object storage that is mirrored into folders.

use std::path::PathBuf;
use std::sync::Arc;

use lfbm_mirror::{Cache, Mirror, MirrorError};
use lfbm_object_storage::{Bucket, Place};
use tokio::runtime::Handle;

use super::LoadError;
use crate::shutdown::Stop;

/// The places that the settings name, each a bundle or a folder of bundles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// On this machine's disks.
    pub folders: Vec<PathBuf>,
    /// In object storage.
    pub storage: Option<Storage>,
}

/// Places in object storage, and the cache of their bundles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The places.
    pub places: Vec<Place>,
    /// The folder of the cache, of this process alone.
    pub cache_dir: PathBuf,
    /// What the cache may hold.
    pub cache_bytes: u64,
}

/// The places, opened.
pub struct Places {
    pub(super) folders: Vec<Folder>,
    pub(super) mirrors: Mirrors,
}

/// A folder where bundles are looked for.
#[derive(Clone)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    /// What the settings call it: the path, or the URL of the place that is mirrored there.
    pub(super) name: PathBuf,
}

/// The mirrors of places in object storage.
pub(super) struct Mirrors {
    mirrors: Vec<Mirror>,
    /// Where their connections live.
    runtime: Handle,
}

/// What could not be had from object storage, by the URL of a bundle or of a whole place.
pub(super) type Unreached = Vec<(PathBuf, LoadError)>;

impl Places {
    /// Opens the cache and the stores. Connections will live in `runtime`; there is none yet.
    ///
    /// # Errors
    /// When the cache cannot be used, or the environment does not say how to reach a store.
    pub fn open(sources: Sources, runtime: Handle) -> Result<Self, LoadError> {
        let mut folders = Vec::new();
        for path in sources.folders {
            let name = path.clone();
            folders.push(Folder { path, name });
        }
        let mut mirrors = Vec::new();
        if let Some(storage) = sources.storage {
            let cache = Arc::new(Cache::open(&storage.cache_dir, storage.cache_bytes)?);
            for place in storage.places {
                let bucket = Bucket::open(&place).map_err(MirrorError::from)?;
                let mirror = Mirror::new(place, bucket, Arc::clone(&cache))?;
                folders.push(Folder {
                    path: mirror.folder().to_path_buf(),
                    name: mirror.place().to_string().into(),
                });
                mirrors.push(mirror);
            }
        }
        let mirrors = Mirrors { mirrors, runtime };
        Ok(Self { folders, mirrors })
    }
}

impl Mirrors {
    /// Brings the mirrors in step with their stores, and blocks until that is done or `stop` comes. What is mirrored of
    /// a bundle or place that cannot be had stays. Bundles that were refused are tried again if `retry`.
    ///
    /// Must not be called on a thread of the runtime that runs tasks.
    pub(super) fn sync(&mut self, retry: bool, stop: &Stop) -> Unreached {
        let mut unreached = Vec::new();
        for mirror in &mut self.mirrors {
            let mut stop = stop.clone();
            let place = PathBuf::from(mirror.place().to_string());
            let synced = self.runtime.block_on(async {
                tokio::select! {
                    synced = mirror.sync(retry) => Some(synced),
                    () = stop.comes() => None,
                }
            });
            match synced {
                None => break,
                Some(Ok(refused)) => unreached.extend(
                    (refused.into_iter())
                        .map(|refused| (refused.bundle.into(), LoadError::Mirror(refused.error))),
                ),
                Some(Err(error)) => unreached.push((place, error.into())),
            }
        }
        unreached
    }
}
