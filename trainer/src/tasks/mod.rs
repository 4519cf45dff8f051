//! Reconstruction, completion and recovery of images by a bundle.

mod completions;
mod pictures;
mod report;

pub use completions::{Completions, MeanSquaredError, complete, recover};
pub use report::{RECONSTRUCT, Report, TaskArgs};
