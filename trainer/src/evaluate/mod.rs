//! How well scores tell anomalies from normal images, and the pictures of it.

mod chart;
mod gallery;
mod metrics;
mod neighbour;

pub use chart::draw_charts;
pub use gallery::{draw_reconstructions, draw_samples, shown};
pub use metrics::{Curves, Detection, curves, detection};
pub use neighbour::nearest_neighbour_distances;
