//! Prometheus metrics. Names carry units; every label has few values.

use lfbm_bundle::manifest::Manifest;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// A tenth of a millisecond to half a minute.
const SECONDS: [f64; 15] = [
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];
const P_VALUES: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0];
const CHAINS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// All metrics of a server.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    rejected: IntCounterVec,
    model_info: IntGaugeVec,
    queue_seconds: HistogramVec,
    compute_seconds: HistogramVec,
    chains_waiting: IntGaugeVec,
    chains_running: IntGaugeVec,
    steps: IntCounterVec,
    step_chains: HistogramVec,
    p_values: HistogramVec,
    verdicts: IntCounterVec,
}

/// The metrics of one model.
#[derive(Clone, Debug)]
pub struct ModelMetrics {
    /// Chains that wait for a row.
    pub chains_waiting: IntGauge,
    /// Chains in the batch.
    pub chains_running: IntGauge,
    /// Seconds from admission to the first step.
    pub queue_seconds: Histogram,
    /// Seconds from the first step to the score.
    pub compute_seconds: Histogram,
    /// p-values of scores.
    pub p_values: Histogram,
    /// Verdicts.
    pub normal: IntCounter,
    /// Verdicts.
    pub anomalous: IntCounter,
    steps: IntCounter,
    step_chains: Histogram,
}

impl ModelMetrics {
    /// Counts a step of `chains` chains.
    pub fn observe_step(&self, chains: usize) {
        self.steps.inc_by(chains as u64);
        self.step_chains.observe(chains as f64);
    }
}

impl Metrics {
    /// Metrics in a registry of their own.
    ///
    /// # Errors
    /// When a metric's description is not valid.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(
                &registry,
                IntCounterVec::new(Opts::new(name, help), labels)?,
            )
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            register(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(&registry, HistogramVec::new(options, labels)?)
        };
        let model: &[&str] = &["model", "version"];
        let metrics = Self {
            requests: counter(
                "lfbm_requests_total",
                "Answered requests; a request that its client gave up has the code Cancelled.",
                &["method", "code"],
            )?,
            request_seconds: histogram(
                "lfbm_request_duration_seconds",
                "From the arrival of a request to its answer.",
                &["method"],
                &SECONDS,
            )?,
            rejected: counter(
                "lfbm_rejected_total",
                "Requests that were refused without inference.",
                &["reason"],
            )?,
            model_info: gauge(
                "lfbm_model_info",
                "1 for every model that is served.",
                &["model", "version", "generator"],
            )?,
            queue_seconds: histogram(
                "lfbm_queue_duration_seconds",
                "From admission to the first Langevin step.",
                model,
                &SECONDS,
            )?,
            compute_seconds: histogram(
                "lfbm_compute_duration_seconds",
                "From the first Langevin step to the score.",
                model,
                &SECONDS,
            )?,
            chains_waiting: gauge("lfbm_chains_waiting", "Chains that wait for a row.", model)?,
            chains_running: gauge("lfbm_chains_running", "Chains in the batch.", model)?,
            steps: counter(
                "lfbm_chain_steps_total",
                "Posterior steps, summed over chains.",
                model,
            )?,
            step_chains: histogram(
                "lfbm_step_chains",
                "Chains that shared a posterior step.",
                model,
                &CHAINS,
            )?,
            p_values: histogram(
                "lfbm_score_p_value",
                "p-values of scores; uniform as long as images are normal.",
                model,
                &P_VALUES,
            )?,
            verdicts: counter(
                "lfbm_verdicts_total",
                "Scores by verdict.",
                &["model", "version", "verdict"],
            )?,
            registry: registry.clone(),
        };
        let build = gauge(
            "lfbm_build_info",
            "1, with the version of the server.",
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(ProcessCollector::for_self()))?;
        Ok(metrics)
    }

    /// The part of a model.
    pub fn of_model(&self, manifest: &Manifest) -> ModelMetrics {
        let version = manifest.version.to_string();
        let model: &[&str] = &[&manifest.name, &version];
        self.model_info
            .with_label_values(&[&manifest.name, &version, &manifest.generator])
            .set(1);
        let verdict = |name| {
            self.verdicts
                .with_label_values(&[manifest.name.as_str(), &version, name])
        };
        ModelMetrics {
            chains_waiting: self.chains_waiting.with_label_values(model),
            chains_running: self.chains_running.with_label_values(model),
            queue_seconds: self.queue_seconds.with_label_values(model),
            compute_seconds: self.compute_seconds.with_label_values(model),
            p_values: self.p_values.with_label_values(model),
            normal: verdict("normal"),
            anomalous: verdict("anomalous"),
            steps: self.steps.with_label_values(model),
            step_chains: self.step_chains.with_label_values(model),
        }
    }

    /// Counts an answered request.
    pub fn observe_request(&self, method: &str, code: tonic::Code, seconds: f64) {
        let code = format!("{code:?}");
        self.requests.with_label_values(&[method, &code]).inc();
        self.request_seconds
            .with_label_values(&[method])
            .observe(seconds);
    }

    /// Counts a request that was refused without inference.
    pub fn reject(&self, reason: &str) {
        self.rejected.with_label_values(&[reason]).inc();
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

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
