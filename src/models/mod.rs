//! The models that are served: found on disk, loaded, switched in and withdrawn while the server
//! runs.

mod catalog;
mod discovery;
mod error;
mod loader;
mod registry;
mod settings;
mod watcher;

pub use catalog::{Catalog, Refused, Unknown};
pub use error::LoadError;
pub use loader::{DeviceFallback, Loader};
pub use registry::Models;
pub use settings::ModelSettings;
pub use watcher::{hangup, watch};

use lfbm_bundle::manifest::Manifest;
use lfbm_detector::Calibration;
use lfbm_runtime::Device;

use crate::sampling::ModelSampler;
use crate::scheduler::Scheduler;
use crate::telemetry::ModelMetrics;

/// A loaded model. Requests hold it until they are answered, so one that is withdrawn ends with
/// the last of them.
pub struct Model {
    /// What it is.
    pub manifest: Manifest,
    /// What scores normal images get.
    pub calibration: Calibration,
    /// Where it runs.
    pub device: Device,
    /// Runs its chains; its thread ends with the model.
    pub scheduler: Scheduler,
    /// Draws from its prior.
    pub sampler: ModelSampler,
    /// Its part of the metrics.
    pub metrics: ModelMetrics,
}
