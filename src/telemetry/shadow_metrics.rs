//! What comparisons of shadow versions with those that answer come to.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::metrics::register;

const DIFFERENCES: [f64; 10] = [0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];
const VERDICTS: [&str; 2] = ["normal", "anomalous"];

/// The metrics of all shadow versions.
#[derive(Clone, Debug)]
pub(super) struct ShadowFamilies {
    served: IntGaugeVec,
    images: IntCounterVec,
    verdicts: IntCounterVec,
    differences: HistogramVec,
}

/// The metrics of one shadow version.
#[derive(Clone, Debug)]
pub struct ShadowMetrics {
    /// 1 while the version is served, else 0.
    pub served: IntGauge,
    /// Images that it scored.
    pub scored: IntCounter,
    /// Images that there was no room for.
    pub dropped: IntCounter,
    /// Images that it could not score.
    pub failed: IntCounter,
    families: ShadowFamilies,
    model: String,
    version: String,
}

impl ShadowFamilies {
    /// # Errors
    /// When a metric's description is not valid.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        Ok(Self {
            served: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "lfbm_shadow_served",
                        "1 while a shadow version is served, 0 while it is not.",
                    ),
                    &["model", "version"],
                )?,
            )?,
            images: counter(
                "lfbm_shadow_images_total",
                "Images picked for a shadow version: scored by it, dropped for want of room, or failed.",
                &["model", "version", "result"],
            )?,
            verdicts: counter(
                "lfbm_shadow_verdicts_total",
                "Images that a shadow version scored, by the verdict of the version that answered (live) \
                 and its own (shadow).",
                &["model", "version", "live_version", "live", "shadow"],
            )?,
            differences: register(
                registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "lfbm_shadow_p_value_difference",
                        "Distance of a shadow version's p-value from that of the version that answered; of \
                         the scores that make their verdicts.",
                    )
                    .buckets(DIFFERENCES.to_vec()),
                    &["model", "version", "live_version"],
                )?,
            )?,
        })
    }

    /// Those of one version; its series are there from now on.
    pub(super) fn of(&self, model: &str, version: u64) -> ShadowMetrics {
        let version = version.to_string();
        let images = |result| {
            let labels = [model, version.as_str(), result];
            self.images.with_label_values(&labels)
        };
        ShadowMetrics {
            served: self.served.with_label_values(&[model, version.as_str()]),
            scored: images("scored"),
            dropped: images("dropped"),
            failed: images("failed"),
            families: self.clone(),
            model: model.to_owned(),
            version,
        }
    }
}

impl ShadowMetrics {
    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The shadow version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Counts an image that both scored: whether the version that answered and the shadow version call it
    /// anomalous, and the distance of their p-values.
    pub fn compare(&self, live_version: u64, [live, shadow]: [bool; 2], difference: f64) {
        let live_version = live_version.to_string();
        let pair = [&*self.model, &*self.version, &*live_version];
        let count = |live: usize, shadow: usize| {
            let verdicts = [VERDICTS[live], VERDICTS[shadow]];
            let labels = [&pair[..], &verdicts].concat();
            self.families.verdicts.with_label_values(&labels)
        };
        // Prometheus sees no increase of a series that appears with a 1: all pairs are there from the first image on.
        for live in 0..VERDICTS.len() {
            for shadow in 0..VERDICTS.len() {
                count(live, shadow);
            }
        }
        count(live.into(), shadow.into()).inc();
        let differences = self.families.differences.with_label_values(&pair);
        differences.observe(difference);
    }
}
