//! Which models are served at a moment, and which of them a request means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lfbm_bundle::manifest::Manifest;

use super::{Model, Unloaded};
use crate::shadow::ShadowVersion;

/// No served model fits a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No model is served.
    #[error("no model is served at the moment")]
    Nothing,
    /// No model was named, and there are several.
    #[error("expected the name of a model, one of {}, got none", .0.join(", "))]
    Ambiguous(Vec<String>),
    /// There is no such model.
    #[error("there is no model {name}; there {}", listed(served))]
    Name {
        /// The name that was asked for.
        name: String,
        /// Names that there are.
        served: Vec<String>,
    },
    /// There is no such version.
    #[error("the model {name} has no version {version}; it has {versions:?}")]
    Version {
        /// The model.
        name: String,
        /// The version that was asked for.
        version: u64,
        /// Versions that there are.
        versions: Vec<u64>,
    },
    /// No version of the model answers requests that name none.
    #[error(
        "the model {name} has the versions {versions:?}, which are shadow versions and answer only requests \
         that name them"
    )]
    OnlyShadows {
        /// The model.
        name: String,
        /// Versions that there are.
        versions: Vec<u64>,
    },
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "is none".to_owned(),
        names => format!("are {}", names.join(", ")),
    }
}

/// A bundle that is not served, because it cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its folder.
    pub bundle: PathBuf,
    /// What is wrong with it.
    pub reason: String,
}

/// The models of a moment, by name and version.
pub struct Catalog {
    by_name: BTreeMap<String, BTreeMap<u64, Arc<Model>>>,
    refused: Vec<Refused>,
    unloaded: Vec<Unloaded>,
    shadows: Arc<[ShadowVersion]>,
}

impl Catalog {
    pub(super) fn new(
        models: impl Iterator<Item = Arc<Model>>,
        refused: Vec<Refused>,
        unloaded: Vec<Unloaded>,
        shadows: Arc<[ShadowVersion]>,
    ) -> Self {
        let mut by_name: BTreeMap<String, BTreeMap<u64, Arc<Model>>> = BTreeMap::new();
        for model in models {
            by_name
                .entry(model.manifest.name.clone())
                .or_default()
                .insert(model.manifest.version, model);
        }
        Self {
            by_name,
            refused,
            unloaded,
            shadows,
        }
    }

    /// The model of that name and version; an empty name is right when there is one name, version
    /// 0 is the highest that is no shadow version.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str, version: u64) -> Result<&Arc<Model>, Unknown> {
        let served = || self.names().map(str::to_owned).collect();
        let name = if name.is_empty() {
            let mut names = self.names();
            match (names.next(), names.next()) {
                (Some(only), None) => only,
                (None, _) => return Err(Unknown::Nothing),
                _ => return Err(Unknown::Ambiguous(served())),
            }
        } else {
            name
        };
        let versions = self
            .by_name
            .get(name)
            .ok_or_else(|| match self.is_empty() {
                true => Unknown::Nothing,
                false => Unknown::Name {
                    name: name.to_owned(),
                    served: served(),
                },
            })?;
        let model = match version {
            0 => self.live(versions),
            _ => versions.get(&version),
        };
        model.ok_or_else(|| {
            let (name, versions) = (name.to_owned(), versions.keys().copied().collect());
            match version {
                0 => Unknown::OnlyShadows { name, versions },
                _ => Unknown::Version {
                    name,
                    version,
                    versions,
                },
            }
        })
    }

    /// All models, by name, then version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.by_name.values().flat_map(BTreeMap::values)
    }

    /// The names of the models that answer requests without a version.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let models = self.by_name.iter();
        let models = models.filter(|(_, versions)| self.live(versions).is_some());
        models.map(|(name, _)| name.as_str())
    }

    /// Whether no model answers requests without a version.
    pub fn is_empty(&self) -> bool {
        self.names().next().is_none()
    }

    /// Whether a model is a shadow version.
    pub fn is_shadow(&self, model: &Model) -> bool {
        let Manifest { name, version, .. } = &model.manifest;
        self.shadows.iter().any(|shadow| shadow.is(name, *version))
    }

    /// Shadow versions that are not served.
    pub fn missing_shadows(&self) -> impl Iterator<Item = &ShadowVersion> {
        self.shadows.iter().filter(|shadow| {
            let versions = self.by_name.get(&shadow.model);
            versions.is_none_or(|versions| !versions.contains_key(&shadow.version))
        })
    }

    /// The highest version that is no shadow version.
    fn live<'a>(&self, versions: &'a BTreeMap<u64, Arc<Model>>) -> Option<&'a Arc<Model>> {
        let mut models = versions.values().rev();
        models.find(|model| !self.is_shadow(model))
    }

    /// Bundles that are present and cannot be served.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    /// Models that are present and were unloaded on request.
    pub fn unloaded(&self) -> &[Unloaded] {
        &self.unloaded
    }
}

impl PartialEq for Catalog {
    /// Whether both hold the same models, not ones that are alike.
    fn eq(&self, other: &Self) -> bool {
        self.refused == other.refused
            && self.unloaded == other.unloaded
            && self
                .iter()
                .map(Arc::as_ptr)
                .eq(other.iter().map(Arc::as_ptr))
    }
}
