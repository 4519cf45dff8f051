//! The models that are checked, and where.

use std::path::{Path, PathBuf};

use anyhow::anyhow;
use lfbm_bundle::Bundle;
use lfbm_model::GeneratorName;
use lfbm_runtime::{Device, PosteriorStep, Precision, Runtime, SessionOptions};
use lfbm_testkit::{RandomSites, benchmark_bundle, random_site_bundle};
use tempfile::TempDir;

/// What is timed, and compared at many numbers of rows: one generator of matrix products, one of
/// convolutions.
pub const TIMED: [GeneratorName; 2] = [GeneratorName::Mlp, GeneratorName::Mnist];

/// Of the architectures, all whose x is an image, but `celeba-hq`: its densities are of 10^5 nats, which
/// single precision tells to 0.01.
const COMPARED: [GeneratorName; 5] = [
    GeneratorName::Mlp,
    GeneratorName::Mnist,
    GeneratorName::Svhn,
    GeneratorName::Cifar10,
    GeneratorName::Celeba,
];

/// A model that is checked.
#[derive(Clone, Debug)]
pub enum Model {
    /// Random weights, as in the benchmarks.
    Random(GeneratorName),
    /// Random weights, of sites; its generator is `features`.
    Sites,
    /// A bundle that is there.
    Bundle(PathBuf),
}

impl Model {
    /// What rows call it.
    pub fn name(&self) -> String {
        match self {
            Model::Random(generator) => generator.to_string(),
            Model::Sites => "sites".to_owned(),
            Model::Bundle(path) => path.file_name().map_or_else(
                || path.display().to_string(),
                |name| name.to_string_lossy().into(),
            ),
        }
    }
}

/// What every check needs.
pub struct Context {
    /// ONNX Runtime.
    pub runtime: Runtime,
    /// What is checked.
    pub device: Device,
    /// Whether little is to be done.
    pub quick: bool,
    bundles: Vec<PathBuf>,
    scratch: TempDir,
}

impl Context {
    /// Loads ONNX Runtime.
    pub fn new(device: Device, bundles: Vec<PathBuf>, quick: bool) -> anyhow::Result<Self> {
        Ok(Self {
            runtime: Runtime::load(None)?,
            device,
            quick,
            bundles,
            scratch: tempfile::tempdir()?,
        })
    }

    /// The models whose steps are compared.
    pub fn compared(&self) -> Vec<Model> {
        let random = COMPARED.map(Model::Random).into_iter();
        let named = self.bundles.iter().cloned().map(Model::Bundle);
        random.chain([Model::Sites]).chain(named).collect()
    }

    /// Opens the bundle, which is made where it has random weights.
    pub fn bundle(&self, model: &Model) -> anyhow::Result<Bundle> {
        let out = self.scratch.path().join(model.name());
        let made = |bundle: Result<Bundle, lfbm_testkit::Failure>| {
            bundle.map_err(|error| anyhow!("a random bundle cannot be made: {error}"))
        };
        match model {
            Model::Random(generator) => made(benchmark_bundle(&out, &self.runtime, *generator)),
            Model::Sites => made(random_site_bundle(&out, &self.runtime, RandomSites::new(1))),
            Model::Bundle(path) => Ok(Bundle::open(path)?),
        }
    }

    /// The device in the most exact precision that it has.
    pub fn options(&self) -> SessionOptions {
        SessionOptions {
            device: self.device,
            precision: Precision::exact(self.device),
            ..SessionOptions::default()
        }
    }

    /// Opens the Langevin step of a bundle.
    pub fn posterior(
        &self,
        bundle: &Bundle,
        options: &SessionOptions,
    ) -> anyhow::Result<PosteriorStep> {
        let dir: &Path = bundle.dir();
        let step = PosteriorStep::open(&self.runtime, dir, bundle.manifest(), options)?;
        Ok(step)
    }
}
