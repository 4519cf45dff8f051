//! The metrics of one model. Each has the labels `model` and `version`, and goes when the model
//! is withdrawn.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lfbm_bundle::manifest::{Decision, Manifest, Quantile};
use lfbm_runtime::{Devices, SessionOptions};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::buckets::SECONDS;
use super::drift::DriftWindow;
use super::statistics::Statistics;

const P_VALUES: [f64; 9] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0];
const CHAINS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Handles to the metrics of one model.
#[derive(Clone, Debug)]
pub struct ModelMetrics {
    /// Interactive and bulk chains that wait for a row.
    pub chains_waiting: [IntGauge; 2],
    /// Chains under way.
    pub chains_running: IntGauge,
    /// Seconds from admission to the first step.
    pub queue_seconds: Histogram,
    /// Seconds from the first step to the score.
    pub compute_seconds: Histogram,
    /// Chains that gave their row away before their end.
    pub suspensions: IntCounter,
    /// Sites whose chains all came to their end; of a whole image, one.
    pub sites: IntCounter,
    /// Seconds that a thread needs to make the x of an image's sites.
    pub reading_seconds: Histogram,
    /// How its requests ended.
    pub statistics: Arc<Statistics>,
    steps: IntCounter,
    device_steps: IntCounterVec,
    padding: IntCounter,
    step_chains: Histogram,
    step_seconds: Histogram,
    log_joint: Histogram,
    p_values: Histogram,
    normal: IntCounter,
    anomalous: IntCounter,
    drift: Arc<Mutex<DriftWindow>>,
}

impl ModelMetrics {
    /// Registers the metrics of the model that `manifest` describes, which was to run on the first of
    /// `devices` and runs on the second as the options say, with a window of `drift_window` scores; they are
    /// there as long as the registration lives.
    pub(super) fn register(
        registry: &Registry,
        manifest: &Manifest,
        (asked, got): (&Devices, &Devices),
        session: &SessionOptions,
        drift_window: usize,
    ) -> prometheus::Result<(Self, Registration)> {
        let options = |name: &str, help: &str| {
            Opts::new(name, help)
                .const_label("model", &manifest.name)
                .const_label("version", manifest.version.to_string())
        };
        let gauge = |name, help| IntGauge::with_opts(options(name, help));
        let counter = |name, help| IntCounter::with_opts(options(name, help));
        let histogram = |name, help, buckets: &[f64]| {
            let options = HistogramOpts::from(options(name, help));
            Histogram::with_opts(options.buckets(buckets.to_vec()))
        };
        let mut registered = Registration::new(registry);
        let info = options("lfbm_model_info", "1 for every model that is served.")
            .const_label("generator", &manifest.generator);
        registered.add(IntGauge::with_opts(info)?)?.set(1);
        let device = options(
            "lfbm_model_device_info",
            "1, with the device that the model was to run on, the one that it runs on and how it runs \
             there.",
        );
        let device = device
            .const_label("asked", asked.to_string())
            .const_label("got", got.to_string())
            .const_label("precision", session.precision.to_string())
            .const_label("cuda_graphs", session.cuda_graphs.to_string());
        registered.add(IntGauge::with_opts(device)?)?.set(1);
        let verdicts = registered.add(IntCounterVec::new(
            options("lfbm_verdicts_total", "Scores by verdict."),
            &["verdict"],
        )?)?;
        let chains_waiting = registered.add(IntGaugeVec::new(
            options("lfbm_chains_waiting", "Chains that wait for a row."),
            &["priority"],
        )?)?;
        let decision = match manifest.calibration.decision {
            Decision::LogJoint => "log_joint",
            Decision::Local => "local",
            Decision::Sites => "sites",
        };
        let ranked = manifest.calibration.ranked();
        let of_decision =
            |name: &str, help: &str| options(name, help).const_label("decision", decision);
        let drift = Arc::new(Mutex::new(DriftWindow::new(drift_window, ranked)));
        registered.add(DriftCollector::new(Arc::clone(&drift), of_decision)?)?;
        let p_values = HistogramOpts::from(of_decision(
            "lfbm_score_p_value",
            "p-values of the score that makes the verdict; uniform as long as images are normal.",
        ));
        let p_values = Histogram::with_opts(p_values.buckets(P_VALUES.to_vec()))?;
        let metrics = Self {
            chains_waiting: ["interactive", "bulk"]
                .map(|priority| chains_waiting.with_label_values(&[priority])),
            chains_running: registered.add(gauge("lfbm_chains_running", "Chains under way.")?)?,
            queue_seconds: registered.add(histogram(
                "lfbm_queue_duration_seconds",
                "From admission to the first Langevin step.",
                &SECONDS,
            )?)?,
            compute_seconds: registered.add(histogram(
                "lfbm_compute_duration_seconds",
                "From the first Langevin step to the score.",
                &SECONDS,
            )?)?,
            suspensions: registered.add(counter(
                "lfbm_chain_suspensions_total",
                "Chains that gave their row to others before their end, to go on later.",
            )?)?,
            sites: registered.add(counter(
                "lfbm_sites_total",
                "Sites that were scored; an image of a model of whole images is one.",
            )?)?,
            reading_seconds: registered.add(histogram(
                "lfbm_reading_duration_seconds",
                "What a thread needs to make the vectors of an image's sites, say by a network.",
                &SECONDS,
            )?)?,
            statistics: Arc::default(),
            steps: registered.add(counter(
                "lfbm_chain_steps_total",
                "Posterior steps, summed over chains.",
            )?)?,
            device_steps: registered.add(IntCounterVec::new(
                options(
                    "lfbm_device_chain_steps_total",
                    "Posterior steps, summed over chains, by the device that ran them.",
                ),
                &["device"],
            )?)?,
            padding: registered.add(counter(
                "lfbm_padding_steps_total",
                "Posterior steps of rows that only filled a batch up to a size that is run.",
            )?)?,
            step_chains: registered.add(histogram(
                "lfbm_step_chains",
                "Chains that shared a posterior step of a thread.",
                &CHAINS,
            )?)?,
            step_seconds: registered.add(histogram(
                "lfbm_step_duration_seconds",
                "One posterior step of a thread's batch.",
                &SECONDS,
            )?)?,
            log_joint: registered.add(histogram(
                "lfbm_score_log_joint_nats",
                "Scores at the model's default parameters; the limits are quantiles of normal \
                 images, and three below the lowest of them.",
                &log_joint_buckets(&manifest.calibration.quantiles),
            )?)?,
            p_values: registered.add(p_values)?,
            normal: verdicts.with_label_values(&["normal"]),
            anomalous: verdicts.with_label_values(&["anomalous"]),
            drift,
        };
        Ok((metrics, registered))
    }

    /// Counts the steps of chains on a device; the series is there from now on.
    pub fn steps_on(&self, device: &str) -> IntCounter {
        self.device_steps.with_label_values(&[device])
    }

    /// Counts a step of `chains` chains that ran `rows` rows, padding included.
    pub fn observe_step(&self, chains: usize, rows: usize, took: Duration) {
        self.steps.inc_by(chains as u64);
        self.padding.inc_by((rows - chains) as u64);
        self.step_chains.observe(chains as f64);
        self.step_seconds.observe(took.as_secs_f64());
    }

    /// Counts a request for an inference that ended.
    pub fn observe_request(&self, success: bool, took: Duration) {
        self.statistics.observe(success, took);
    }

    /// Runs of the posterior's graph, each of a batch of chains.
    pub fn step_count(&self) -> u64 {
        self.step_chains.get_sample_count()
    }

    /// Counts a score that the calibration holds for; the p-value is that of the score that makes the
    /// verdict.
    pub fn observe_score(&self, log_joint: f64, p_value: f64, anomalous: bool) {
        self.log_joint.observe(log_joint);
        self.p_values.observe(p_value);
        if anomalous {
            self.anomalous.inc();
        } else {
            self.normal.inc();
        }
        let mut drift = self.drift.lock().unwrap_or_else(PoisonError::into_inner);
        drift.push(p_value);
    }
}

/// Limits of buckets in which normal images spread evenly, and three below the lowest normal
/// image: 1, 4 and 16 times as far from it as the median is.
fn log_joint_buckets(quantiles: &[Quantile]) -> Vec<f64> {
    let mut limits: Vec<f64> = quantiles
        .iter()
        .map(|quantile| quantile.log_joint)
        .collect();
    if let (Some(&lowest), Some(median)) = (limits.first(), limits.get(limits.len() / 2)) {
        let spread = median - lowest;
        limits.extend([1.0, 4.0, 16.0].map(|times| lowest - times * spread));
    }
    limits.retain(|limit| limit.is_finite());
    limits.sort_by(f64::total_cmp);
    limits.dedup();
    limits
}

/// Keeps metrics in a registry; takes them out when dropped.
pub struct Registration {
    registry: Registry,
    collectors: Vec<Box<dyn Collector>>,
}

impl Registration {
    fn new(registry: &Registry) -> Self {
        Self {
            registry: registry.clone(),
            collectors: Vec::new(),
        }
    }

    fn add<C: Collector + Clone + 'static>(&mut self, collector: C) -> prometheus::Result<C> {
        self.registry.register(Box::new(collector.clone()))?;
        self.collectors.push(Box::new(collector.clone()));
        Ok(collector)
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").finish_non_exhaustive()
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        for collector in self.collectors.drain(..) {
            // It is there, because nobody else takes it out.
            let _ = self.registry.unregister(collector);
        }
    }
}

/// Works out the drift when it is asked for.
#[derive(Clone)]
struct DriftCollector {
    window: Arc<Mutex<DriftWindow>>,
    scores: Gauge,
    below_001_ratio: Gauge,
    kolmogorov_distance: Gauge,
}

impl DriftCollector {
    fn new(
        window: Arc<Mutex<DriftWindow>>,
        options: impl Fn(&str, &str) -> Opts,
    ) -> prometheus::Result<Self> {
        let gauge = |name, help| Gauge::with_opts(options(name, help));
        Ok(Self {
            window,
            scores: gauge(
                "lfbm_drift_window_scores",
                "Scores in the window that drift is worked out over.",
            )?,
            below_001_ratio: gauge(
                "lfbm_drift_p_value_below_001_ratio",
                "Share of the window's p-values at or below 0.01; about 0.01 without drift, and 0 where \
                 the calibration ranks among fewer than 99 scores.",
            )?,
            kolmogorov_distance: gauge(
                "lfbm_drift_kolmogorov_distance",
                "Kolmogorov distance of the window's p-values to the uniform distribution.",
            )?,
        })
    }
}

impl Collector for DriftCollector {
    fn desc(&self) -> Vec<&Desc> {
        [
            &self.scores,
            &self.below_001_ratio,
            &self.kolmogorov_distance,
        ]
        .into_iter()
        .flat_map(Gauge::desc)
        .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        // A copy, so that scores do not wait for the sort.
        let copy = window.clone();
        drop(window);
        self.scores.set(copy.len() as f64);
        let mut families = self.scores.collect();
        if let Some(drift) = copy.drift() {
            self.below_001_ratio.set(drift.below_001_ratio);
            self.kolmogorov_distance.set(drift.kolmogorov_distance);
            families.extend(self.below_001_ratio.collect());
            families.extend(self.kolmogorov_distance.collect());
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_the_quantiles_and_three_below() {
        let quantiles = |values: &[f64]| {
            let quantile = |&log_joint| Quantile {
                probability: 0.5,
                log_joint,
            };
            log_joint_buckets(&values.iter().map(quantile).collect::<Vec<_>>())
        };
        assert_eq!(
            quantiles(&[0.0, 2.0, 2.0, 3.0]),
            [-32.0, -8.0, -2.0, 0.0, 2.0, 3.0]
        );
        assert_eq!(quantiles(&[1.0, 1.0]), [1.0]);
        assert!(quantiles(&[]).is_empty());
    }
}
