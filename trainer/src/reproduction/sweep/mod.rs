//! Many fits: held-out classes x seeds x settings, and the table of what they detect.

mod chart;
mod command;
mod kept;
mod plan;
mod table;

pub use chart::draw_vary;
pub use command::{SweepArgs, run};
pub use plan::{Axis, Cell, Curve, Sweep, Vary};
pub use table::{CellResult, table};
