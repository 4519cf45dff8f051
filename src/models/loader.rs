//! From a bundle on disk to a model that is ready for its first request.

use std::sync::Arc;
use std::time::Instant;

use clap::ValueEnum;
use lfbm_bundle::Bundle;
use lfbm_runtime::{ChainGraphs, Device, Precision, Runtime, Sampler, SessionOptions};
use serde::{Deserialize, Serialize};

use super::{LoadError, Model};
use crate::sampling::Sampling;
use crate::scheduler::{Policy, Scheduler};
use crate::shadow::ShadowVersion;
use crate::telemetry::{Metrics, Registration};

/// What to do when a device is not available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceFallback {
    /// Refuse the model.
    #[default]
    None,
    /// Run on the CPU, and log it.
    Cpu,
}

/// What every model is loaded with.
pub struct Loader {
    /// ONNX Runtime.
    pub runtime: Runtime,
    /// How sessions are made.
    pub options: SessionOptions,
    /// What to do when the device of the options is not available.
    pub fallback: DeviceFallback,
    /// How chains share batches on the device of the options.
    pub policy: Policy,
    /// The same on the CPU, for models that fall back to it.
    pub fallback_policy: Policy,
    /// What samplers share.
    pub sampling: Sampling,
    /// The share of normal images that verdicts call anomalous; `None` for each model's own.
    pub false_alarm_rate: Option<f64>,
    /// Versions that are compared with those that answer.
    pub shadows: Arc<[ShadowVersion]>,
    /// Where models show their metrics.
    pub metrics: Metrics,
}

impl Loader {
    /// Opens the graphs of a bundle, warms them up and starts its scheduler. The metrics are shown as long as the
    /// registration lives.
    ///
    /// # Errors
    /// When ONNX Runtime or the system refuses, or the model's calibration does not tell the server's
    /// false-alarm rate.
    pub(super) fn load(&self, bundle: &Bundle) -> Result<(Model, Registration), LoadError> {
        let started = Instant::now();
        let (dir, manifest) = (bundle.dir(), bundle.manifest());
        let (name, version) = (manifest.name.as_str(), manifest.version);
        let _span = tracing::info_span!("load_model", name, version).entered();
        let thresholds = match self.false_alarm_rate {
            None => manifest.calibration.clone(),
            Some(rate) => (bundle
                .calibration()
                .at_rate(rate, manifest.calibration.decision))
            .map_err(|error| LoadError::FalseAlarmRate {
                bundle: dir.to_path_buf(),
                error,
            })?,
        };
        let open = |options| ChainGraphs::open(&self.runtime, dir, manifest, options);
        let asked = self.options.device;
        let (graphs, options) = match open(&self.options) {
            Err(error) if asked != Device::Cpu && self.fallback == DeviceFallback::Cpu => {
                tracing::warn!(%error, "falling back to the CPU");
                let options = SessionOptions {
                    device: Device::Cpu,
                    precision: Precision::exact(Device::Cpu),
                    cuda_graphs: false,
                    ..self.options
                };
                (open(&options)?, options)
            }
            result => (result?, self.options),
        };
        let device = options.device;
        let opaque = bundle.opaque_graphs().iter();
        // Only the CPU has layers of our own.
        for graph in opaque.filter(|_| device == Device::Cpu) {
            tracing::warn!(
                model = name,
                version,
                graph = graph.name,
                reason = graph.reason,
                "the graph runs as it is, more slowly: it has parts that lfbm cannot read"
            );
        }
        let sampler = SessionOptions {
            // Samples are rare: threads that wait for them are not worth their stacks.
            threads: 1,
            ..options
        };
        let sampler = Sampler::open(&self.runtime, dir, manifest, &sampler)?;
        let (metrics, registration) = self.metrics.model_metrics(manifest, asked, &options)?;
        let policy = if device == asked {
            &self.policy
        } else {
            &self.fallback_policy
        };
        let background = self.shadows.iter().any(|shadow| shadow.is(name, version));
        let policy = Policy {
            background,
            ..policy.clone()
        };
        let scheduler = Scheduler::start(name, graphs, policy, metrics.clone())?;
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.model_load_seconds.observe(seconds);
        tracing::info!(
            model = name,
            version,
            bundle = %dir.display(),
            %asked,
            got = %device,
            precision = %options.precision,
            cuda_graphs = options.cuda_graphs,
            seconds,
            "model loaded"
        );
        let model = Model {
            manifest: manifest.clone(),
            thresholds,
            device,
            calibration: bundle.calibration().clone(),
            names: bundle.names().clone(),
            scheduler,
            sampler: self.sampling.model_sampler(sampler),
            metrics,
        };
        Ok((model, registration))
    }
}
