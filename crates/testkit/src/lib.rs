//! What tests and benchmarks share: bundles with random weights, which need no training, and graphs.
#![forbid(unsafe_code)]

mod benchmark;
mod checkpoint;
mod random;
mod rows;
mod sites;

pub use benchmark::{BENCHMARK_WIDTH, StepRows, benchmark_bundle, benchmark_model};
pub use checkpoint::checkpoint;
pub use lfbm_detector::{memory_bank_of, site_calibration_of};
pub use random::{
    Failure, RandomModel, calibration_images, noise, random_bundle, random_bundle_of,
    random_encoder, random_energy, random_flow, random_generator, random_images,
};
pub use rows::{Rows, WIDTH, every_operation, row_inputs};
pub use sites::{RandomSites, random_site_bundle};
