//! The models that are served.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lfbm_bundle::calibration::Calibration;
use lfbm_bundle::manifest::Manifest;
use lfbm_bundle::runtime::{PosteriorStep, Preprocess, Runtime, RuntimeError, SessionOptions};
use lfbm_bundle::store::{Bundle, BundleError};

use crate::scheduler::{Engine, Scheduler};
use crate::telemetry::{Metrics, ModelMetrics};

/// A loaded model.
pub struct Model {
    /// What it is.
    pub manifest: Manifest,
    /// What scores normal images get.
    pub calibration: Calibration,
    /// Runs its chains.
    pub scheduler: Scheduler,
    /// Its part of the metrics.
    pub metrics: ModelMetrics,
}

/// Why models cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// A bundle is missing or broken.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// ONNX Runtime refuses.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The system refuses.
    #[error("{}: {source}", path.display())]
    Io {
        /// What it was asked for.
        path: PathBuf,
        /// What it says.
        source: std::io::Error,
    },
    /// A place has no bundle.
    #[error(
        "{}: expected a bundle (a folder with manifest.json) or a folder of bundles, found neither",
        .0.display()
    )]
    NoBundle(PathBuf),
    /// Two bundles are the same model.
    #[error("{} and {} are both version {version} of the model {name}; serve one of them",
        first.display(), second.display())]
    Duplicate {
        /// The model.
        name: String,
        /// Its version.
        version: u64,
        /// The bundle that was first.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
    },
}

/// No served model fits a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// No model was named, and there are several.
    #[error("expected the name of a model, one of {}, got none", .0.join(", "))]
    Ambiguous(Vec<String>),
    /// There is no such model.
    #[error("there is no model {name}; there are {}", served.join(", "))]
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
}

/// Every model that is served, by name and version.
pub struct Models {
    by_name: BTreeMap<String, BTreeMap<u64, Arc<Model>>>,
}

impl Models {
    /// Loads the bundles at `places`, each a bundle or a folder of bundles, and starts a scheduler
    /// of at most `batch_chains` chains for each.
    ///
    /// # Errors
    /// When one of them cannot be served; then none is.
    pub fn load(
        places: &[PathBuf],
        runtime: &Runtime,
        options: &SessionOptions,
        batch_chains: usize,
        metrics: &Metrics,
    ) -> Result<Self, ModelsError> {
        let mut bundles: BTreeMap<(String, u64), Bundle> = BTreeMap::new();
        for dir in find_bundles(places)? {
            let bundle = Bundle::open(&dir)?;
            let key = (bundle.manifest().name.clone(), bundle.manifest().version);
            if let Some(first) = bundles.get(&key) {
                return Err(ModelsError::Duplicate {
                    name: key.0,
                    version: key.1,
                    first: first.dir().to_path_buf(),
                    second: dir,
                });
            }
            bundles.insert(key, bundle);
        }
        let mut by_name: BTreeMap<String, BTreeMap<u64, Arc<Model>>> = BTreeMap::new();
        for ((name, version), bundle) in bundles {
            let model = start(&bundle, runtime, options, batch_chains, metrics)?;
            tracing::info!(
                model = name,
                version,
                bundle = %bundle.dir().display(),
                device = %options.device,
                "model loaded"
            );
            by_name
                .entry(name)
                .or_default()
                .insert(version, Arc::new(model));
        }
        Ok(Self { by_name })
    }

    /// The model of that name and version; an empty name is right when there is one name, version
    /// 0 is the highest.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str, version: u64) -> Result<&Arc<Model>, Unknown> {
        let served = || self.by_name.keys().cloned().collect();
        let (name, versions) = if name.is_empty() {
            let mut names = self.by_name.iter();
            match (names.next(), names.next()) {
                (Some(only), None) => only,
                _ => return Err(Unknown::Ambiguous(served())),
            }
        } else {
            self.by_name
                .get_key_value(name)
                .ok_or_else(|| Unknown::Name {
                    name: name.to_owned(),
                    served: served(),
                })?
        };
        let model = match version {
            0 => versions.values().next_back(),
            _ => versions.get(&version),
        };
        model.ok_or_else(|| Unknown::Version {
            name: name.clone(),
            version,
            versions: versions.keys().copied().collect(),
        })
    }

    /// All of them, by name, then version.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Model>> {
        self.by_name.values().flat_map(BTreeMap::values)
    }
}

fn start(
    bundle: &Bundle,
    runtime: &Runtime,
    options: &SessionOptions,
    batch_chains: usize,
    metrics: &Metrics,
) -> Result<Model, ModelsError> {
    let (dir, manifest) = (bundle.dir(), bundle.manifest());
    let engine = Engine {
        preprocess: Preprocess::open(runtime, dir, manifest, options)?,
        posterior: PosteriorStep::open(runtime, dir, manifest, options)?,
        pixels: manifest.image.pixels(),
        positions: manifest.image.positions(),
        latent_dim: manifest.latent_dim,
    };
    let metrics = metrics.of_model(manifest);
    let scheduler = Scheduler::start(&manifest.name, engine, batch_chains, metrics.clone())
        .map_err(|source| ModelsError::Io {
            path: dir.to_path_buf(),
            source,
        })?;
    Ok(Model {
        manifest: manifest.clone(),
        calibration: bundle.calibration().clone(),
        scheduler,
        metrics,
    })
}

fn is_bundle(dir: &Path) -> bool {
    dir.join("manifest.json").is_file()
}

/// The bundles at `places`, in order; a folder of bundles gives its children in theirs.
fn find_bundles(places: &[PathBuf]) -> Result<Vec<PathBuf>, ModelsError> {
    let mut found = Vec::new();
    for place in places {
        if is_bundle(place) {
            found.push(place.clone());
            continue;
        }
        let io = |source| ModelsError::Io {
            path: place.clone(),
            source,
        };
        let mut children = Vec::new();
        for entry in fs::read_dir(place).map_err(io)? {
            children.push(entry.map_err(io)?.path());
        }
        children.retain(|child| is_bundle(child));
        if children.is_empty() {
            return Err(ModelsError::NoBundle(place.clone()));
        }
        children.sort();
        found.append(&mut children);
    }
    Ok(found)
}
