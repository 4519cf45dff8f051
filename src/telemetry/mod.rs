//! What the server says about itself.

mod audit_metrics;
mod buckets;
mod drift;
mod log;
mod metrics;
mod model_metrics;
mod panics;
mod settings;
mod shadow_metrics;
mod statistics;
mod traces;

pub use audit_metrics::AuditMetrics;
pub use log::LogFormat;
pub use metrics::Metrics;
pub use model_metrics::{ModelMetrics, Registration};
pub use panics::watch_panics;
pub use settings::TelemetrySettings;
pub use shadow_metrics::ShadowMetrics;
pub use statistics::{Statistics, Total};
pub use traces::continue_trace;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use traces::Traces;

/// Sends the last spans when it is dropped; the runtime of tokio must still be there.
#[must_use]
pub struct Telemetry(#[allow(dead_code)] Option<Traces>);

/// Starts the log and, if the settings name a collector, traces. Must be called within a runtime of
/// tokio.
///
/// # Errors
/// When a setting has the wrong syntax, or a log was started before.
pub fn init(settings: &TelemetrySettings) -> anyhow::Result<Telemetry> {
    let traces = match settings.otlp_endpoint.as_deref() {
        None | Some("") => None,
        Some(endpoint) => Some(Traces::start(endpoint, settings.trace_sampling_ratio)?),
    };
    tracing_subscriber::registry()
        .with(log::layer(settings.log_format, &settings.log)?)
        .with(traces.as_ref().map(Traces::layer))
        .try_init()?;
    Ok(Telemetry(traces))
}
