//! What the server says about itself.

mod drift;
mod log;
mod metrics;
mod model_metrics;

pub use drift::{Drift, DriftWindow};
pub use log::{LogFormat, init};
pub use metrics::Metrics;
pub use model_metrics::{ModelMetrics, Registration};
