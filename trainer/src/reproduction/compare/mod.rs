//! Models side by side: what is fitted, what it costs, and the report.

mod plan;
mod report;
mod timing;

pub use plan::{Comparison, ModelPlan};
pub use report::{ModelResult, Report};
pub use timing::{Timing, time_models};
