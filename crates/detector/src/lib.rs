//! How anomalous an image is: from log-densities, and the distances to the nearest normal images, to
//! scores, p-values and verdicts.
//!
//! * [`aggregate`] makes one score of an image's chains;
//! * [`MemoryBank`] holds the normal images that others are compared with, in pixels and by histograms of
//!   oriented gradients ([`Hog`]), through an exact search ([`Neighbours`]);
//! * [`RankNormalizer`] brings the parts of the local score to one scale;
//! * [`sites`] does the same for images that are made of sites, with a map of where they are anomalous;
//! * [`Calibration`] holds the scores of normal images: p-values, thresholds, quantiles.
//!
//! It depends on no graph and no runtime.
#![forbid(unsafe_code)]

mod bytes;
mod calibration;
mod comparison;
mod conformal;
mod error;
mod hog;
mod local;
mod memory_bank;
mod nearest;
mod neighbours;
mod rank_normalizer;
mod rate;
mod sample;
mod score;
pub mod sites;
#[cfg(any(test, feature = "testing"))]
mod testing;
mod verdict;

pub use calibration::Calibration;
pub use comparison::Comparison;
pub use conformal::fewest_ranked;
pub use error::{CalibrationError, FitError};
pub use hog::Hog;
pub use local::{LocalCalibration, fewest_images, ranked};
pub use memory_bank::{MemoryBank, NearestImages, Parts};
pub use nearest::Nearest;
pub use neighbours::{KnnDistance, NEIGHBOURS, Neighbours};
pub use rank_normalizer::RankNormalizer;
pub use rate::{RateError, smallest_rate};
pub use score::{Aggregation, ChainScore, Score, aggregate};
#[cfg(any(test, feature = "testing"))]
pub use testing::{memory_bank_of, site_calibration_of};
pub use verdict::{CalibrationSummary, Decision, Quantile};
