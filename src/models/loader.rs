//! From a bundle on disk to a model that is ready for its first request.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lfbm_bundle::Bundle;
use lfbm_runtime::{
    ChainGraphs, Decoder, Device, Devices, Placement, Runtime, Sampler, SessionOptions,
};

use super::{LoadError, Model};
use crate::admission::Admission;
use crate::sampling::Sampling;
use crate::scheduler::{Policy, Scheduler};
use crate::shadow::ShadowVersion;
use crate::telemetry::{Metrics, Registration};

/// How models run: on which devices, by which threads, in which batches.
#[derive(Clone, Debug)]
pub struct Execution {
    /// The devices.
    pub devices: Devices,
    /// The threads of each of them.
    pub placements: Vec<Placement>,
    /// How sessions are made; the device is the first.
    pub options: SessionOptions,
    /// How chains share batches.
    pub policy: Policy,
}

/// What every model is loaded with.
pub struct Loader {
    /// ONNX Runtime.
    pub runtime: Runtime,
    /// How they are to run.
    pub execution: Execution,
    /// How they run when one of the devices is not available; `None` refuses them.
    pub fallback: Option<Execution>,
    /// Chains of each priority that wait or run in a model at most.
    pub max_chains_in_flight: usize,
    /// How long an interactive request may wait.
    pub max_queue: Duration,
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
        let open = |execution: &Execution| {
            let Execution {
                placements,
                options,
                ..
            } = execution;
            ChainGraphs::open_at(&self.runtime, dir, manifest, placements, options)
        };
        let (graphs, execution) = match (open(&self.execution), &self.fallback) {
            (Err(error), Some(fallback)) => {
                tracing::warn!(%error, "falling back to the CPU");
                (open(fallback)?, fallback)
            }
            (result, _) => (result?, &self.execution),
        };
        let Execution {
            devices,
            options,
            policy,
            ..
        } = execution;
        let asked = &self.execution.devices;
        let opaque = bundle.opaque_graphs().iter();
        // Only the CPU has layers of our own.
        for graph in opaque.filter(|_| options.device == Device::Cpu) {
            tracing::warn!(
                model = name,
                version,
                graph = graph.name,
                reason = graph.reason,
                "the graph runs as it is, more slowly: it has parts that lfbm cannot read"
            );
        }
        let of_pixels = SessionOptions {
            // Samples and explanations are rare: threads that wait for them are not worth their stacks.
            threads: 1,
            ..*options
        };
        let sampler = Sampler::open(&self.runtime, dir, manifest, &of_pixels)?;
        let decoder = (manifest.has_decoder())
            .then(|| Decoder::open(&self.runtime, dir, manifest, &of_pixels))
            .transpose()?;
        let (metrics, registration) =
            (self.metrics).model_metrics(manifest, asked, devices, options)?;
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
            got = %devices,
            precision = %options.precision,
            cuda_graphs = options.cuda_graphs,
            seconds,
            "model loaded"
        );
        let model = Model {
            manifest: manifest.clone(),
            thresholds,
            devices: devices.clone(),
            calibration: bundle.calibration().clone(),
            names: bundle.names().clone(),
            admission: Admission::new(self.max_chains_in_flight, self.max_queue),
            scheduler,
            sampler: self.sampling.model_sampler(sampler),
            decoder: decoder.map(Mutex::new),
            metrics,
        };
        Ok((model, registration))
    }
}
