//! Models that were unloaded on request, and stay so whatever is on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::discovery::Fingerprint;

/// A version of a model that was unloaded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unloaded {
    /// The model.
    pub name: String,
    /// Its version.
    pub version: u64,
}

/// What was unloaded, and which bundles are left alone therefore.
#[derive(Default)]
pub(super) struct UnloadedModels {
    names: BTreeSet<String>,
    bundles: BTreeMap<PathBuf, (Fingerprint, Unloaded)>,
}

impl UnloadedModels {
    /// Unloads the model of that name, in all versions.
    pub(super) fn add(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    /// Whether the model was unloaded.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Leaves a bundle alone that holds such a model.
    pub(super) fn leave(&mut self, bundle: &Path, fingerprint: Fingerprint, model: Unloaded) {
        self.bundles
            .insert(bundle.to_path_buf(), (fingerprint, model));
    }

    /// Whether the bundle is left alone, and has not changed.
    pub(super) fn knows(&self, bundle: &Path, fingerprint: &Fingerprint) -> bool {
        let known = self.bundles.get(bundle);
        known.is_some_and(|(known, _)| known == fingerprint)
    }

    /// Forgets a model.
    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(name);
        self.bundles.retain(|_, (_, model)| model.name != name);
    }

    /// Forgets a bundle, which holds another model now.
    pub(super) fn forget(&mut self, bundle: &Path) {
        self.bundles.remove(bundle);
    }

    /// Forgets bundles that are gone; a model that was unloaded stays so without one.
    pub(super) fn keep(&mut self, is_there: impl Fn(&Path) -> bool) {
        self.bundles.retain(|bundle, _| is_there(bundle));
    }

    /// The versions that are present, by name, then version.
    pub(super) fn list(&self) -> Vec<Unloaded> {
        let models = self.bundles.values().map(|(_, model)| model.clone());
        models.collect::<BTreeSet<_>>().into_iter().collect()
    }
}
