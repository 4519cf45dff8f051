//! How well scores tell anomalies from normal images, how far generated images are from real ones,
//! and the pictures of it.

mod baseline;
mod chart;
mod frechet;
mod gallery;
mod metrics;

pub use baseline::{Baseline, baselines, nearest_neighbour};
pub use chart::draw_charts;
pub use frechet::Moments;
pub use gallery::{draw_reconstructions, draw_rows, draw_samples, shown};
pub use metrics::{Curves, Detection, curves, detection};
