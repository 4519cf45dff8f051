//! Models side by side: the plan, the costs and the report.

mod command;
mod plan;
mod report;
mod timing;

pub use command::{CompareArgs, run};
pub use plan::{Comparison, ModelPlan};
pub use report::{ModelResult, Report};
pub use timing::{Timing, time_models};
