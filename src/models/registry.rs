//! What is on disk, and what of it is served, refused or left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::Manifest;

use super::discovery::{self, Fingerprint};
use super::places::{Folder, Unreached};
use super::unloaded::{Unloaded, UnloadedModels};
use super::{Catalog, LoadError, Loader, Model, Refused};
use crate::telemetry::Registration;

/// Bundles on disk.
pub(super) type Found = BTreeMap<PathBuf, Fingerprint>;

pub(super) struct Served {
    model: Arc<Model>,
    bundle: PathBuf,
    fingerprint: Fingerprint,
    /// Requests in flight do not hold it: a model that is withdrawn shows no metrics.
    _registration: Registration,
}

impl Served {
    pub(super) fn is_gone(&self, found: &Found) -> bool {
        !found.contains_key(&self.bundle)
    }

    /// Whether its files are no longer where they were loaded from, or were touched.
    fn has_left(&self, found: &Found) -> bool {
        found.get(&self.bundle) != Some(&self.fingerprint)
    }

    /// Whether its files were renamed: they are found elsewhere, as they were.
    fn is_elsewhere(&self, found: &Found) -> bool {
        self.has_left(found) && found.values().any(|there| *there == self.fingerprint)
    }
}

pub(super) struct Refusal {
    /// Of a bundle; a place that cannot be read has none.
    fingerprint: Option<Fingerprint>,
    reason: String,
    /// The version that is served in its place.
    waits_for: Option<(String, u64)>,
}

pub(super) struct Registry {
    places: Vec<Folder>,
    /// Bundles and places in object storage that could not be had at the last poll.
    unreached: BTreeSet<PathBuf>,
    pub(super) loader: Loader,
    pub(super) served: BTreeMap<(String, u64), Served>,
    pub(super) refused: BTreeMap<PathBuf, Refusal>,
    /// Paths that the last poll could not read, each of which was logged once.
    unseen: BTreeSet<PathBuf>,
    pub(super) unloaded: UnloadedModels,
    /// Which of the loader's shadow versions were served at the last look.
    shadows_served: Option<Vec<bool>>,
}

impl Registry {
    /// Of the bundles at `places`, none of which is known yet.
    pub(super) fn new(places: Vec<Folder>, loader: Loader) -> Self {
        Self {
            places,
            unreached: BTreeSet::new(),
            loader,
            served: BTreeMap::new(),
            refused: BTreeMap::new(),
            unseen: BTreeSet::new(),
            unloaded: UnloadedModels::default(),
            shadows_served: None,
        }
    }

    pub(super) fn count_refused(&self) {
        let refused = self.refused.len() as i64;
        self.loader.metrics.models_refused.set(refused);
    }

    /// Says which shadow versions are served, to metrics and, where that has changed, to the log.
    pub(super) fn show_shadows(&mut self) {
        let served = self.loader.shadows.iter().map(|shadow| {
            let key = (shadow.model.clone(), shadow.version);
            self.served.contains_key(&key)
        });
        let served: Vec<bool> = served.collect();
        let before = self.shadows_served.replace(served.clone());
        for (index, (shadow, is_served)) in self.loader.shadows.iter().zip(served).enumerate() {
            if before.as_ref().map(|before| before[index]) == Some(is_served) {
                continue;
            }
            let (model, version) = (shadow.model.as_str(), shadow.version);
            let metrics = self.loader.metrics.shadow_metrics(model, version);
            metrics.served.set(is_served.into());
            if is_served {
                tracing::info!(
                    model,
                    version,
                    share = shadow.share,
                    "shadow version served"
                );
            } else if self.served.keys().any(|(name, _)| name == model) {
                tracing::warn!(
                    model,
                    version,
                    "the shadow version is not served, and nothing is compared with it"
                );
            } else {
                tracing::warn!(
                    model,
                    version,
                    "no model of the name that --shadow gives is served: if it is misspelt, the version that is \
                     meant answers requests"
                );
            }
        }
    }

    pub(super) fn catalog(&self) -> Catalog {
        let models = self.served.values().map(|served| Arc::clone(&served.model));
        let refused = self.refused.iter().map(|(bundle, refusal)| Refused {
            bundle: bundle.clone(),
            reason: refusal.reason.clone(),
        });
        let shadows = Arc::clone(&self.loader.shadows);
        Catalog::new(models, refused.collect(), self.unloaded.list(), shadows)
    }

    /// Whether a bundle is itself what the settings name.
    pub(super) fn is_place(&self, bundle: &Path) -> bool {
        self.places.iter().any(|place| place.path == bundle)
    }

    /// Refuses what could not be had from object storage, and nothing else there; the first error.
    pub(super) fn refuse_unreached(&mut self, unreached: Unreached) -> Option<LoadError> {
        let paths = unreached.iter().map(|(path, _)| path.clone()).collect();
        for path in std::mem::replace(&mut self.unreached, paths) {
            if !self.unreached.contains(&path) {
                self.refused.remove(&path);
            }
        }
        for (path, error) in &unreached {
            self.refuse(path, None, error);
        }
        unreached.into_iter().map(|(_, error)| error).next()
    }

    /// The bundles found at the start, and the first error.
    pub(super) fn find_first(&mut self) -> (Found, Option<LoadError>) {
        let (mut found, mut unseen, mut first_error) = (Found::new(), BTreeMap::new(), None);
        for Folder { path, name } in self.places.clone() {
            let error = match discovery::find(&path) {
                Ok(there) => {
                    let is_empty = there.bundles.is_empty();
                    found.extend(there.bundles);
                    unseen.extend(there.unseen);
                    is_empty.then(|| LoadError::NoBundle(name.clone()))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Some(LoadError::NoBundle(name.clone()))
                }
                Err(source) => {
                    let error = LoadError::Io {
                        path: path.clone(),
                        source,
                    };
                    self.refuse(&path, None, &error);
                    Some(error)
                }
            };
            if let Some(LoadError::NoBundle(_)) = &error {
                tracing::warn!(place = %name.display(), "no bundle here yet");
            }
            first_error = first_error.or(error);
        }
        self.warn_of_unseen(unseen);
        (found, first_error)
    }

    /// The bundles found. A bundle that is served from a folder that cannot be read counts as found.
    pub(super) fn find(&mut self) -> Found {
        let (mut found, mut unseen) = (Found::new(), BTreeMap::new());
        for Folder { path, .. } in self.places.clone() {
            match discovery::find(&path) {
                Ok(there) => {
                    self.refused.remove(&path);
                    found.extend(there.bundles);
                    unseen.extend(there.unseen);
                }
                // Also of one that is gone: a volume that is not there withdraws nothing.
                Err(source) => {
                    found.extend(self.served_below(&path));
                    let error = LoadError::Io {
                        path: path.clone(),
                        source,
                    };
                    self.refuse(&path, None, &error);
                }
            }
        }
        for bundle in unseen.keys() {
            found.extend(self.served_below(bundle));
        }
        self.warn_of_unseen(unseen);
        found
    }

    fn served_below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = (PathBuf, Fingerprint)> {
        let served = self.served.values();
        let below = served.filter(move |served| served.bundle.starts_with(path));
        below.map(|served| (served.bundle.clone(), served.fingerprint.clone()))
    }

    /// Logs each path once for as long as it stays unreadable.
    fn warn_of_unseen(&mut self, unseen: BTreeMap<PathBuf, io::Error>) {
        for (path, error) in &unseen {
            if !self.unseen.contains(path) {
                tracing::warn!(
                    path = %path.display(),
                    %error,
                    "passed over; what is served goes on"
                );
            }
        }
        self.unseen = unseen.into_keys().collect();
    }

    pub(super) fn knows(&self, bundle: &Path, fingerprint: &Fingerprint) -> bool {
        self.has_taken(bundle, fingerprint)
            || self
                .refused
                .get(bundle)
                .is_some_and(|refusal| refusal.fingerprint.as_ref() == Some(fingerprint))
    }

    /// Whether a bundle is served as it is, or left alone because its model was unloaded.
    fn has_taken(&self, bundle: &Path, fingerprint: &Fingerprint) -> bool {
        let served = self.served.values();
        let mut served = served.filter(|served| served.bundle == bundle);
        served.any(|served| served.fingerprint == *fingerprint)
            || self.unloaded.knows(bundle, fingerprint)
    }

    /// Serves a bundle that is new or was touched.
    pub(super) fn take(
        &mut self,
        dir: &Path,
        fingerprint: &Fingerprint,
        found: &Found,
    ) -> Result<(), LoadError> {
        let result = self.check_and_load(dir, fingerprint, found);
        // The bundle was replaced while it was loaded; the result is discarded.
        if Fingerprint::of(dir).ok().as_ref() != Some(fingerprint) {
            return Err(LoadError::Unsettled(dir.to_path_buf()));
        }
        if let Some((model, registration)) = result? {
            self.drop_replaced(dir, found);
            let key = (model.manifest.name.clone(), model.manifest.version);
            let served = Served {
                model: Arc::new(model),
                bundle: dir.to_path_buf(),
                fingerprint: fingerprint.clone(),
                _registration: registration,
            };
            self.served.insert(key, served);
        }
        Ok(())
    }

    /// The model of a bundle, unless it is served already.
    fn check_and_load(
        &mut self,
        dir: &Path,
        fingerprint: &Fingerprint,
        found: &Found,
    ) -> Result<Option<(Model, Registration)>, LoadError> {
        let bundle = Bundle::open(dir)?;
        let manifest = bundle.manifest();
        let key = (manifest.name.clone(), manifest.version);
        self.unloaded.forget(dir);
        if self.unloaded.has(&key.0) {
            let (name, version) = key;
            let model = Unloaded { name, version };
            self.unloaded.leave(dir, fingerprint.clone(), model);
            self.drop_replaced(dir, found);
            return Ok(None);
        }
        let Some(served) = self.served.get_mut(&key) else {
            return self.loader.load(&bundle).map(Some);
        };
        if served.bundle != dir && !served.has_left(found) {
            return Err(LoadError::Duplicate {
                name: key.0,
                version: key.1,
                first: served.bundle.clone(),
                second: dir.to_path_buf(),
            });
        }
        if !same_model(&served.model.manifest, manifest) {
            return Err(LoadError::Changed {
                name: key.0,
                version: key.1,
                bundle: dir.to_path_buf(),
            });
        }
        // It was moved, or its metadata changed and its content did not.
        served.bundle = dir.to_path_buf();
        served.fingerprint = fingerprint.clone();
        Ok(None)
    }

    pub(super) fn refuse(
        &mut self,
        path: &Path,
        fingerprint: Option<&Fingerprint>,
        error: &LoadError,
    ) {
        let waits_for = match error {
            LoadError::Duplicate { name, version, .. }
            | LoadError::Changed { name, version, .. } => Some((name.clone(), *version)),
            _ => None,
        };
        let refusal = Refusal {
            fingerprint: fingerprint.cloned(),
            reason: error.to_string(),
            waits_for,
        };
        let last = self.refused.get(path);
        // Every poll meets a path that cannot be read.
        if fingerprint.is_some() || last.is_none_or(|last| last.reason != refusal.reason) {
            self.loader.metrics.refuse_model(error.reason());
            tracing::error!(bundle = %path.display(), %error, "bundle refused");
        }
        self.refused.insert(path.to_path_buf(), refusal);
    }

    /// Withdraws models whose bundles are gone, also where another bundle was renamed into their place; says whether
    /// there were any.
    pub(super) fn withdraw(&mut self, found: &Found) -> bool {
        let before = self.served.len();
        let taken = (found.iter()).filter(|(bundle, there)| self.has_taken(bundle, there));
        let taken: BTreeSet<&Path> = taken.map(|(bundle, _)| bundle.as_path()).collect();
        self.drop_served(|served| {
            let replaced = served.has_left(found) && taken.contains(served.bundle.as_path());
            served.is_gone(found) || replaced
        });
        let has_withdrawn = self.served.len() < before;
        if has_withdrawn {
            // A refused bundle may have waited for this one to go.
            let unreached = &self.unreached;
            self.refused.retain(|path, _| unreached.contains(path));
        }
        self.unloaded.keep(|bundle| found.contains_key(bundle));
        let (places, unreached) = (&self.places, &self.unreached);
        self.refused.retain(|path, _| {
            found.contains_key(path)
                || unreached.contains(path)
                || places.iter().any(|place| place.path == *path)
        });
        has_withdrawn
    }

    /// Withdraws a model, and leaves its bundles alone.
    pub(super) fn unload(&mut self, name: &str) {
        self.unloaded.add(name);
        for ((name_served, version), served) in &self.served {
            if name_served == name {
                let model = Unloaded {
                    name: name.to_owned(),
                    version: *version,
                };
                let fingerprint = served.fingerprint.clone();
                self.unloaded.leave(&served.bundle, fingerprint, model);
            }
        }
        self.served.retain(|(served, version), _| {
            let stays = served != name;
            if !stays {
                tracing::info!(model = name, version, "model unloaded on request");
            }
            stays
        });
    }

    /// Withdraws what was served from a folder that holds another bundle now; what was renamed goes on.
    fn drop_replaced(&mut self, dir: &Path, found: &Found) {
        self.drop_served(|served| served.bundle == dir && !served.is_elsewhere(found));
    }

    fn drop_served(&mut self, which: impl Fn(&Served) -> bool) {
        let refused = &mut self.refused;
        self.served.retain(|key, served| {
            let goes = which(served);
            if goes {
                let (name, version) = key;
                tracing::info!(model = name, version, "model withdrawn");
                refused.retain(|_, refusal| refusal.waits_for.as_ref() != Some(key));
            }
            !goes
        });
    }
}

/// Whether the folder of a bundle has that name, by which the index calls a bundle that is refused.
pub(super) fn is_named(bundle: &Path, name: &str) -> bool {
    bundle.file_name().is_some_and(|folder| folder == name)
}

/// Whether two manifests describe the same model; an evaluation adds to a manifest later.
fn same_model(a: &Manifest, b: &Manifest) -> bool {
    let without_evaluation = |manifest: &Manifest| Manifest {
        evaluation: serde_json::Value::Null,
        ..manifest.clone()
    };
    without_evaluation(a) == without_evaluation(b)
}
