//! Detection metrics of images and of their pixels, the Fréchet distance between generated and real images, and pictures.

mod baseline;
mod chart;
mod edge_features;
mod frechet;
mod gallery;
mod maps;
mod metrics;
mod pixel_metrics;
mod regions;

pub use baseline::{Baseline, baselines, nearest_neighbour, nearest_neighbour_bytes};
pub use chart::{TestScores, draw_charts};
pub use edge_features::edge_features;
pub use frechet::Moments;
pub use gallery::{
    draw_reconstructions, draw_rows, draw_samples, picture, reconstructions_page, shown,
};
pub use maps::{MappedImage, draw_maps, enlarged};
pub use metrics::{Curves, Detection, curves, detection, detection_by_class, f1_max};
pub use pixel_metrics::{
    FALSE_POSITIVE_LIMIT, MOST_FAULT_FREE, MapError, MeasuredMap, PixelDetection, pixel_detection,
};
