//! Many fits: held-out classes x seeds x settings, and the table of what they detect.

mod plan;
mod table;

pub use plan::{Cell, Sweep};
pub use table::{CellResult, table};
