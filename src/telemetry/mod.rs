//! What the server says about itself.

mod log;
mod metrics;

pub use log::{LogFormat, init};
pub use metrics::{Metrics, ModelMetrics};
