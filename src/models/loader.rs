//! From a bundle on disk to a model that is ready for its first request.

use std::time::Instant;

use lfbm_bundle::runtime::{Runtime, SessionOptions};
use lfbm_bundle::store::Bundle;

use super::{LoadError, Model};
use crate::scheduler::{Engine, Policy, Scheduler};
use crate::telemetry::{Metrics, Registration};

/// What every model is loaded with.
pub struct Loader {
    /// ONNX Runtime.
    pub runtime: Runtime,
    /// How sessions are made.
    pub options: SessionOptions,
    /// How chains share a batch.
    pub policy: Policy,
    /// Where models show their metrics.
    pub metrics: Metrics,
}

impl Loader {
    /// Opens the graphs of a bundle, warms them up and starts its scheduler. The metrics are shown as long as the
    /// registration lives.
    ///
    /// # Errors
    /// When ONNX Runtime or the system refuses.
    pub(super) fn load(&self, bundle: &Bundle) -> Result<(Model, Registration), LoadError> {
        let started = Instant::now();
        let (dir, manifest) = (bundle.dir(), bundle.manifest());
        let engine = Engine::open(&self.runtime, dir, manifest, &self.options)?;
        let (metrics, registration) = self.metrics.of_model(manifest)?;
        let scheduler = Scheduler::start(&manifest.name, engine, &self.policy, metrics.clone())?;
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.model_load_seconds.observe(seconds);
        tracing::info!(
            model = manifest.name,
            version = manifest.version,
            bundle = %dir.display(),
            device = %self.options.device,
            seconds,
            "model loaded"
        );
        let model = Model {
            manifest: manifest.clone(),
            calibration: bundle.calibration().clone(),
            scheduler,
            metrics,
        };
        Ok((model, registration))
    }
}
