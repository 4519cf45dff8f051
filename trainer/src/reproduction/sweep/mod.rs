//! Many fits: held-out classes x seeds x settings, and the table of what they detect.

mod chart;
mod command;
mod kept;
mod measure;
mod plan;
mod table;
mod vary;

pub use chart::draw_vary;
pub use command::{SweepArgs, run};
pub use measure::Measure;
pub use plan::{Cell, Sweep};
pub use table::{CellResult, tables};
pub use vary::{Axis, Curve, Vary};
