//! Detection metrics, the Fréchet distance between generated and real images, and pictures.

mod baseline;
mod chart;
mod edge_features;
mod frechet;
mod gallery;
mod metrics;

pub use baseline::{Baseline, baselines, nearest_neighbour};
pub use chart::draw_charts;
pub use edge_features::edge_features;
pub use frechet::Moments;
pub use gallery::{draw_reconstructions, draw_rows, draw_samples, shown};
pub use metrics::{Curves, Detection, curves, detection};
