//! What a fitted model makes of images, whole or incomplete, as a user of its bundle would see it.

mod completions;
mod report;

pub use completions::{Completions, MeanSquaredError, complete, recover};
pub use report::{Report, TaskArgs};
