//! What the server says about itself.

mod drift;
mod log;
mod metrics;
mod model_metrics;
mod panics;

pub use drift::{Drift, DriftWindow};
pub use log::{LogFormat, init};
pub use metrics::Metrics;
pub use model_metrics::{ModelMetrics, Registration};
pub use panics::watch_panics;
