//! The metrics of the server. Names carry units; every label has few values.

use lfbm_bundle::manifest::Manifest;
use lfbm_runtime::{Devices, SessionOptions};
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::audit_metrics::AuditMetrics;
use super::buckets::SECONDS;
use super::model_metrics::{ModelMetrics, Registration};
use super::shadow_metrics::{ShadowFamilies, ShadowMetrics};

/// Results of a reload.
const USED: &str = "ok";
const NOT_USED: &str = "failed";

/// A tenth of a second to five minutes.
const LOAD_SECONDS: [f64; 8] = [0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];

/// All metrics of a server.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Bundles that are present and not served, because they cannot be.
    pub models_refused: IntGauge,
    /// Seconds from a checked bundle to its model being ready.
    pub model_load_seconds: Histogram,
    /// Lines of the audit log.
    pub audit: AuditMetrics,
    shadows: ShadowFamilies,
    model_load_failures: IntCounterVec,
    registry: Registry,
    drift_window: usize,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    rejected: IntCounterVec,
    panics: IntCounter,
    reloads: IntCounterVec,
}

impl Metrics {
    /// Metrics in a registry of their own. `drift_window` is the number of scores that drift is
    /// worked out over; `onnxruntime` is the version of ONNX Runtime.
    ///
    /// # Errors
    /// When a metric's description is not valid.
    pub fn new(drift_window: usize, onnxruntime: &str) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            register(&registry, counter)
        };
        let metrics = Self {
            models_refused: register(
                &registry,
                IntGauge::new(
                    "lfbm_models_refused",
                    "Bundles that are present and not served, because they cannot be.",
                )?,
            )?,
            model_load_seconds: register(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "lfbm_model_load_seconds",
                        "From a bundle whose checksums fit to its model being loaded and warm.",
                    )
                    .buckets(LOAD_SECONDS.to_vec()),
                )?,
            )?,
            model_load_failures: counter(
                "lfbm_model_load_failures_total",
                "Bundles that were refused; once for every change of them.",
                &["reason"],
            )?,
            requests: counter(
                "lfbm_requests_total",
                "Answered requests; a request that its client gave up has the code Cancelled, one \
                 for a model that is not served has no model.",
                &["method", "model", "code"],
            )?,
            request_seconds: register(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "lfbm_request_duration_seconds",
                        "From the arrival of a request to its answer.",
                    )
                    .buckets(SECONDS.to_vec()),
                    &["method"],
                )?,
            )?,
            rejected: counter(
                "lfbm_rejected_total",
                "Requests that were refused without inference, and connections beyond the limit.",
                &["reason"],
            )?,
            panics: register(
                &registry,
                IntCounter::new("lfbm_panics_total", "Panics, in whatever thread.")?,
            )?,
            reloads: counter(
                "lfbm_reloads_total",
                "Changes of certificates and tokens; after a failure the old ones stay.",
                &["files", "result"],
            )?,
            audit: AuditMetrics::register(&registry)?,
            shadows: ShadowFamilies::register(&registry)?,
            drift_window,
            registry: registry.clone(),
        };
        let build = Opts::new(
            "lfbm_build_info",
            "1, with the versions of the server and of ONNX Runtime.",
        );
        register(
            &registry,
            IntGaugeVec::new(build, &["version", "onnxruntime"])?,
        )?
        .with_label_values(&[env!("CARGO_PKG_VERSION"), onnxruntime])
        .set(1);
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// The metrics of a model that was to run on `asked` and runs on `got` as the options say, shown as long
    /// as the registration lives.
    ///
    /// # Errors
    /// When those of the same version of the model are still shown.
    pub fn model_metrics(
        &self,
        manifest: &Manifest,
        asked: &Devices,
        got: &Devices,
        options: &SessionOptions,
    ) -> prometheus::Result<(ModelMetrics, Registration)> {
        let devices = (asked, got);
        ModelMetrics::register(
            &self.registry,
            manifest,
            devices,
            options,
            self.drift_window,
        )
    }

    /// The metrics of a shadow version; its series are there from the first call on.
    pub fn shadow_metrics(&self, model: &str, version: u64) -> ShadowMetrics {
        self.shadows.of(model, version)
    }

    /// Counts an answered request; `model` is empty when it is not one that is served.
    pub fn observe_request(&self, method: &str, model: &str, code: tonic::Code, seconds: f64) {
        let code = format!("{code:?}");
        let labels = [method, model, &code];
        self.requests.with_label_values(&labels).inc();
        self.request_seconds
            .with_label_values(&[method])
            .observe(seconds);
    }

    /// Counts a bundle that was refused.
    pub fn refuse_model(&self, reason: &str) {
        self.model_load_failures.with_label_values(&[reason]).inc();
    }

    /// Creates the series of a reason at 0: of one that appears with a 1, Prometheus does not see the
    /// increase.
    pub fn expect_refused_models(&self, reason: &str) {
        self.model_load_failures.with_label_values(&[reason]);
    }

    /// Counts a request that was refused without inference.
    pub fn reject(&self, reason: &str) {
        self.rejected.with_label_values(&[reason]).inc();
    }

    /// Counts a panic.
    pub fn observe_panic(&self) {
        self.panics.inc();
    }

    /// Counts files that changed, and whether they could be used.
    pub fn observe_reload(&self, files: &str, used: bool) {
        let result = if used { USED } else { NOT_USED };
        self.reloads.with_label_values(&[files, result]).inc();
    }

    /// Shows that such files have not changed yet, as for models.
    pub fn expect_reloads(&self, files: &str) {
        for result in [USED, NOT_USED] {
            self.reloads.with_label_values(&[files, result]);
        }
    }

    /// The text that Prometheus reads, and its content type.
    ///
    /// # Errors
    /// When a metric cannot be written as text.
    pub fn text(&self) -> prometheus::Result<(Vec<u8>, String)> {
        let encoder = TextEncoder::new();
        let mut text = Vec::new();
        encoder.encode(&self.registry.gather(), &mut text)?;
        Ok((text, encoder.format_type().to_owned()))
    }
}

pub(super) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
