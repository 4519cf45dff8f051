//! Durations in an HDR histogram.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::errors::CreationError;

const LOWEST_US: u64 = 1;
const HIGHEST_US: u64 = 3_600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;

/// What is reported of a distribution, each with its quantile.
pub(super) const QUANTILES: [(&str, f64); 5] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];

/// Durations from a microsecond to an hour, to three significant digits.
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Result<Self, CreationError> {
        Histogram::new_with_bounds(LOWEST_US, HIGHEST_US, SIGNIFICANT_DIGITS).map(Self)
    }

    /// Counts a duration; one over an hour counts as an hour.
    pub(super) fn record(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(HIGHEST_US);
        self.0.saturating_record(micros.max(LOWEST_US));
    }

    /// How many were recorded.
    pub(super) fn len(&self) -> u64 {
        self.0.len()
    }

    /// Seconds that a share `quantile` of the durations do not exceed; none without durations.
    pub(super) fn quantile_s(&self, quantile: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(quantile) as f64 / 1e6)
    }
}
