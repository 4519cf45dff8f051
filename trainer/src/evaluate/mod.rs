//! How well scores tell anomalies from normal images, and the pictures of it.

mod baseline;
mod chart;
mod gallery;
mod metrics;

pub use baseline::{Baseline, baselines, nearest_neighbour};
pub use chart::draw_charts;
pub use gallery::{draw_reconstructions, draw_rows, draw_samples, shown};
pub use metrics::{Curves, Detection, curves, detection};
