//! Keeps what is served in step with what is on disk and in object storage.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use super::places::{Mirrors, Unreached};
use super::registry::{Registry, is_named};
use super::{Catalog, LoadError, Loader, Model, Places, Unknown};
use crate::shutdown::Stop;

/// A bundle that is replaced is away for a moment between two renames; one that is away for longer
/// is gone.
const REPLACEMENT: Duration = Duration::from_millis(200);

/// A bundle of a model that is to be loaded cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadRefused {
    /// There is no such model in the folders.
    #[error(transparent)]
    Unknown(#[from] Unknown),
    /// There is, and something is wrong with it.
    #[error("{0}")]
    Bundle(String),
}

/// Every model that is served.
pub struct Models {
    /// What requests see; a change replaces the whole catalog.
    catalog: watch::Sender<Arc<Catalog>>,
    /// What polls compare with; one poll at a time locks it.
    registry: Mutex<Registry>,
    /// Locked while bundles are downloaded, which may take long.
    mirrors: Mutex<Mirrors>,
}

impl Models {
    /// Loads the bundles at `places`, each a bundle or a folder of bundles. One that cannot be served
    /// is refused and leaves the others of its folder alone, as when it comes later; so does a place
    /// where there is none yet. Loads no more once `stop` came.
    ///
    /// # Errors
    /// When a place is itself a bundle that cannot be served, or no bundle can be.
    pub fn load(places: Places, loader: Loader, stop: &Stop) -> Result<Self, LoadError> {
        for reason in LoadError::REASONS {
            loader.metrics.expect_refused_models(reason);
        }
        let mut mirrors = places.mirrors;
        let mut registry = Registry::new(places.folders, loader);
        let unreached = registry.refuse_unreached(mirrors.sync(true, stop));
        let (found, not_found) = registry.find_first();
        let mut first_error = unreached.or(not_found);
        for (bundle, fingerprint) in &found {
            if stop.came() {
                break;
            }
            if let Err(error) = registry.take(bundle, fingerprint, &found) {
                if registry.is_place(bundle) {
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
        registry.show_shadows();
        Ok(Self {
            catalog: watch::Sender::new(Arc::new(registry.catalog())),
            registry: Mutex::new(registry),
            mirrors: Mutex::new(mirrors),
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

    /// Withdraws all versions of a model, and leaves its bundles alone until it is loaded again or the process
    /// ends; requests in flight are answered. A model that was unloaded before stays so.
    ///
    /// # Errors
    /// When there is no such model.
    pub fn unload(&self, name: &str) -> Result<(), Unknown> {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if !registry.unloaded.has(name) {
            is_served(&self.catalog(), name)?;
        }
        registry.unload(name);
        self.publish(&mut registry);
        Ok(())
    }

    /// Looks for a model in the folders and serves it, also one that was unloaded or refused; blocks until it
    /// is served. What else is new is loaded, too.
    ///
    /// # Errors
    /// When there is no such model, or it cannot be served.
    pub fn load_named(&self, name: &str, stop: &Stop) -> Result<(), LoadRefused> {
        {
            let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
            registry.unloaded.remove(name);
            registry.refused.retain(|bundle, _| !is_named(bundle, name));
        }
        self.take(self.download(true, stop), false, stop);
        let catalog = self.catalog();
        let mut refused = catalog.refused().iter();
        match is_served(&catalog, name) {
            Ok(()) => Ok(()),
            Err(unknown) => match refused.find(|refused| is_named(&refused.bundle, name)) {
                Some(refused) => Err(LoadRefused::Bundle(refused.reason.clone())),
                None => Err(unknown.into()),
            },
        }
    }

    /// Downloads and loads what is new, then withdraws what is gone; blocks until that is done, so it belongs
    /// on a thread that may block. What cannot be served is refused, once for every change of it, or again if
    /// `retry`. Does no more once `stop` came.
    pub fn poll(&self, retry: bool, stop: &Stop) {
        self.take(self.download(retry, stop), retry, stop);
    }

    /// Brings mirrors in step with object storage. Meanwhile the registry is free, and so are requests that load
    /// or unload a model.
    fn download(&self, retry: bool, stop: &Stop) -> Unreached {
        let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        mirrors.sync(retry, stop)
    }

    /// Brings what is served in step with what is on disk.
    fn take(&self, unreached: Unreached, retry: bool, stop: &Stop) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        if retry {
            registry.refused.clear();
        }
        registry.refuse_unreached(unreached);
        let mut found = registry.find();
        if registry
            .served
            .values()
            .any(|served| served.is_gone(&found))
        {
            thread::sleep(REPLACEMENT);
            found = registry.find();
        }
        loop {
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
                self.publish(&mut registry);
            }
            // A bundle may have waited for one that goes, which answers until the other does.
            if !registry.withdraw(&found) {
                break;
            }
        }
        self.publish(&mut registry);
    }

    /// Publishes the catalog if it has changed.
    fn publish(&self, registry: &mut Registry) {
        registry.count_refused();
        registry.show_shadows();
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

/// Whether a model is served, be it in a shadow version alone.
fn is_served(catalog: &Catalog, name: &str) -> Result<(), Unknown> {
    match catalog.get(name, 0) {
        Ok(_) | Err(Unknown::OnlyShadows { .. }) => Ok(()),
        Err(Unknown::Nothing) => Err(Unknown::Name {
            name: name.to_owned(),
            served: Vec::new(),
        }),
        Err(unknown) => Err(unknown),
    }
}
