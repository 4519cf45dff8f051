//! Keeps what is served in step with what is on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::Manifest;
use tokio::sync::watch;

use super::discovery::{self, Fingerprint};
use super::{Catalog, LoadError, Loader, Model, Refused, Unknown};
use crate::shutdown::Stop;
use crate::telemetry::Registration;

/// A bundle that is replaced is away for a moment between two renames; one that is away for longer
/// is gone.
const REPLACEMENT: Duration = Duration::from_millis(200);

/// Every model that is served.
pub struct Models {
    /// What requests see; a change replaces the whole catalog.
    catalog: watch::Sender<Arc<Catalog>>,
    /// What polls compare with; one poll at a time locks it.
    registry: Mutex<Registry>,
}

impl Models {
    /// Loads the bundles at `places`, each a bundle or a folder of bundles. One that cannot be served
    /// is refused and leaves the others of its folder alone, as when it comes later; so does a place
    /// where there is none yet. Loads no more once `stop` came.
    ///
    /// # Errors
    /// When a place is itself a bundle that cannot be served, or no bundle can be.
    pub fn load(places: &[PathBuf], loader: Loader, stop: &Stop) -> Result<Self, LoadError> {
        for reason in LoadError::REASONS {
            loader.metrics.expect_refused_models(reason);
        }
        let mut registry = Registry {
            places: places.to_vec(),
            loader,
            served: BTreeMap::new(),
            refused: BTreeMap::new(),
            unseen: BTreeSet::new(),
        };
        let (found, mut first_error) = registry.find_first();
        for (bundle, fingerprint) in &found {
            if stop.came() {
                break;
            }
            if let Err(error) = registry.take(bundle, fingerprint, &found) {
                if places.contains(bundle) {
                    return Err(error);
                }
                // One that changed is for the next poll.
                if !matches!(error, LoadError::Unsettled(_)) {
                    registry.refuse(bundle, Some(fingerprint), &error);
                }
                first_error.get_or_insert(error);
            }
        }
        if let Some(error) = first_error.filter(|_| registry.served.is_empty()) {
            return Err(error);
        }
        registry.count_refused();
        Ok(Self {
            catalog: watch::Sender::new(Arc::new(registry.catalog())),
            registry: Mutex::new(registry),
        })
    }

    /// The models of this moment.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.catalog.borrow())
    }

    /// The models of this moment, and a notification of every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Catalog>> {
        self.catalog.subscribe()
    }

    /// See [`Catalog::get`].
    ///
    /// # Errors
    /// When no model fits.
    pub fn get(&self, name: &str, version: u64) -> Result<Arc<Model>, Unknown> {
        self.catalog.borrow().get(name, version).cloned()
    }

    /// Loads what is new on disk, then withdraws what is gone; blocks until both are done. What
    /// cannot be served is refused, once for every change of it, or again if `retry`. Does no more
    /// once `stop` came.
    pub fn poll(&self, retry: bool, stop: &Stop) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if retry {
            registry.refused.clear();
        }
        let mut found = registry.find();
        if registry
            .served
            .values()
            .any(|served| served.is_gone(&found))
        {
            thread::sleep(REPLACEMENT);
            found = registry.find();
        }
        for (bundle, fingerprint) in &found {
            if stop.came() {
                return;
            }
            if registry.knows(bundle, fingerprint) {
                continue;
            }
            match registry.take(bundle, fingerprint, &found) {
                Ok(()) => {
                    registry.refused.remove(bundle);
                }
                // The next poll finds it complete.
                Err(LoadError::Unsettled(_)) => continue,
                Err(error) => registry.refuse(bundle, Some(fingerprint), &error),
            }
            // Loading the next bundle may take long.
            self.publish(&registry);
        }
        registry.withdraw(&found);
        self.publish(&registry);
    }

    /// Publishes the catalog if it has changed.
    fn publish(&self, registry: &Registry) {
        registry.count_refused();
        let next = registry.catalog();
        self.catalog.send_if_modified(|present| {
            let modified = **present != next;
            if modified {
                *present = Arc::new(next);
            }
            modified
        });
    }
}

/// Bundles on disk.
type Found = BTreeMap<PathBuf, Fingerprint>;

struct Served {
    model: Arc<Model>,
    bundle: PathBuf,
    fingerprint: Fingerprint,
    /// Requests in flight do not hold it: a model that is withdrawn shows no metrics.
    _registration: Registration,
}

impl Served {
    fn is_gone(&self, found: &Found) -> bool {
        !found.contains_key(&self.bundle)
    }
}

struct Refusal {
    /// Of a bundle; a place that cannot be read has none.
    fingerprint: Option<Fingerprint>,
    reason: String,
}

struct Registry {
    places: Vec<PathBuf>,
    loader: Loader,
    served: BTreeMap<(String, u64), Served>,
    refused: BTreeMap<PathBuf, Refusal>,
    /// Paths that the last poll could not read, each of which was logged once.
    unseen: BTreeSet<PathBuf>,
}

impl Registry {
    fn count_refused(&self) {
        let refused = self.refused.len() as i64;
        self.loader.metrics.models_refused.set(refused);
    }

    fn catalog(&self) -> Catalog {
        let models = self.served.values().map(|served| Arc::clone(&served.model));
        let refused = self.refused.iter().map(|(bundle, refusal)| Refused {
            bundle: bundle.clone(),
            reason: refusal.reason.clone(),
        });
        Catalog::new(models, refused.collect())
    }

    /// The bundles found at the start, and the first error.
    fn find_first(&mut self) -> (Found, Option<LoadError>) {
        let (mut found, mut unseen, mut first_error) = (Found::new(), BTreeMap::new(), None);
        for place in self.places.clone() {
            let error = match discovery::find(&place) {
                Ok(there) => {
                    let is_empty = there.bundles.is_empty();
                    found.extend(there.bundles);
                    unseen.extend(there.unseen);
                    is_empty.then(|| LoadError::NoBundle(place.clone()))
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    Some(LoadError::NoBundle(place.clone()))
                }
                Err(source) => {
                    let path = place.clone();
                    let error = LoadError::Io { path, source };
                    self.refuse(&place, None, &error);
                    Some(error)
                }
            };
            if let Some(LoadError::NoBundle(_)) = &error {
                tracing::warn!(place = %place.display(), "no bundle here yet; others are served");
            }
            first_error = first_error.or(error);
        }
        self.warn_of_unseen(unseen);
        (found, first_error)
    }

    /// The bundles found. A bundle that is served from a folder that cannot be read counts as found.
    fn find(&mut self) -> Found {
        let (mut found, mut unseen) = (Found::new(), BTreeMap::new());
        for place in self.places.clone() {
            match discovery::find(&place) {
                Ok(there) => {
                    self.refused.remove(&place);
                    found.extend(there.bundles);
                    unseen.extend(there.unseen);
                }
                // Also of one that is gone: a volume that is not there withdraws nothing.
                Err(source) => {
                    found.extend(self.served_below(&place));
                    let path = place.clone();
                    self.refuse(&place, None, &LoadError::Io { path, source });
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

    fn knows(&self, bundle: &Path, fingerprint: &Fingerprint) -> bool {
        let served = self.served.values();
        let mut served = served.filter(|served| served.bundle == bundle);
        served.any(|served| served.fingerprint == *fingerprint)
            || self
                .refused
                .get(bundle)
                .is_some_and(|refusal| refusal.fingerprint.as_ref() == Some(fingerprint))
    }

    /// Serves a bundle that is new or was touched.
    fn take(
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
            // A version that lay in the same folder was replaced by this one.
            self.drop_served(|served| served.bundle == dir);
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
        let Some(served) = self.served.get_mut(&key) else {
            return self.loader.load(&bundle).map(Some);
        };
        if served.bundle != dir && !served.is_gone(found) {
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

    fn refuse(&mut self, path: &Path, fingerprint: Option<&Fingerprint>, error: &LoadError) {
        let refusal = Refusal {
            fingerprint: fingerprint.cloned(),
            reason: error.to_string(),
        };
        let last = self.refused.get(path);
        // Every poll meets a path that cannot be read.
        if fingerprint.is_some() || last.is_none_or(|last| last.reason != refusal.reason) {
            self.loader.metrics.refuse_model(error.reason());
            tracing::error!(bundle = %path.display(), %error, "bundle refused");
        }
        self.refused.insert(path.to_path_buf(), refusal);
    }

    /// Withdraws models whose bundles are gone.
    fn withdraw(&mut self, found: &Found) {
        let before = self.served.len();
        self.drop_served(|served| served.is_gone(found));
        if self.served.len() < before {
            // A refused bundle may have waited for this one to go.
            self.refused.clear();
        }
        let places = &self.places;
        self.refused
            .retain(|path, _| found.contains_key(path) || places.contains(path));
    }

    fn drop_served(&mut self, which: impl Fn(&Served) -> bool) {
        self.served.retain(|(name, version), served| {
            let goes = which(served);
            if goes {
                tracing::info!(model = name, version, "model withdrawn");
            }
            !goes
        });
    }
}

/// Whether two manifests describe the same model; an evaluation adds to a manifest later.
fn same_model(a: &Manifest, b: &Manifest) -> bool {
    let without_evaluation = |manifest: &Manifest| Manifest {
        evaluation: serde_json::Value::Null,
        ..manifest.clone()
    };
    without_evaluation(a) == without_evaluation(b)
}
