//! Models side by side: the plan, the results of fits, the costs and the report.

mod command;
mod costs;
mod plan;
mod report;
mod result;

pub use command::{CompareArgs, run};
pub use costs::{Costs, costs};
pub use plan::{Comparison, Fit, ModelPlan};
pub use report::Report;
pub use result::FitResult;
