use std::path::PathBuf;
use std::sync::Arc;

use lfbm_bundle::BundleError;
use lfbm_detector::RateError;
use lfbm_mirror::MirrorError;
use lfbm_runtime::RuntimeError;

use crate::scheduler::StartError;

/// Why a bundle cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bundle is missing or broken.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// ONNX Runtime refuses.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Its scheduler cannot start.
    #[error(transparent)]
    Scheduler(#[from] StartError),
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
    /// The files of a version that is served are others now.
    #[error(
        "{} is no longer the version {version} of the model {name} that is served; what was loaded \
         goes on, and other files need another version", bundle.display()
    )]
    Changed {
        /// The model.
        name: String,
        /// Its version.
        version: u64,
        /// The bundle.
        bundle: PathBuf,
    },
    /// The bundle became another one while it was read.
    #[error("{} changed while it was read; write bundles elsewhere and rename them into place",
        .0.display())]
    Unsettled(PathBuf),
    /// Its calibration does not tell the server's false-alarm rate.
    #[error("{}: --false-alarm-rate: {error}", bundle.display())]
    FalseAlarmRate {
        /// The bundle.
        bundle: PathBuf,
        /// Why not.
        error: RateError,
    },
    /// It cannot be had from object storage, or the cache cannot be used.
    #[error(transparent)]
    Mirror(Arc<MirrorError>),
    /// The model's metrics cannot be shown.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl LoadError {
    /// All that [`Self::reason`] can say.
    pub(super) const REASONS: [&str; 9] = [
        "bundle",
        "runtime",
        "io",
        "duplicate",
        "changed",
        "unsettled",
        "rate",
        "metrics",
        "storage",
    ];

    /// What to call it in a label.
    pub(super) fn reason(&self) -> &'static str {
        let [
            bundle,
            runtime,
            io,
            duplicate,
            changed,
            unsettled,
            rate,
            metrics,
            storage,
        ] = Self::REASONS;
        match self {
            Self::Bundle(_) | Self::NoBundle(_) => bundle,
            Self::Runtime(_) | Self::Scheduler(_) => runtime,
            Self::Io { .. } => io,
            Self::Duplicate { .. } => duplicate,
            Self::Changed { .. } => changed,
            Self::Unsettled(_) => unsettled,
            Self::FalseAlarmRate { .. } => rate,
            Self::Metrics(_) => metrics,
            Self::Mirror(_) => storage,
        }
    }
}

impl From<MirrorError> for LoadError {
    fn from(error: MirrorError) -> Self {
        Self::Mirror(Arc::new(error))
    }
}
