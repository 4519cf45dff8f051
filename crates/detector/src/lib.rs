//! How anomalous an image is: from log-densities, and the distances to the nearest normal images, to
//! scores, p-values and verdicts.
//!
//! * [`aggregate`] makes one score of an image's chains;
//! * [`References`] are the normal images that others are compared with, in pixels and by histograms of
//!   oriented gradients ([`EdgeMaps`]), through an exact search ([`Neighbours`]);
//! * [`NormalScores`] brings the parts of the local score to one scale;
//! * [`Calibration`] holds the scores of normal images: p-values, thresholds, quantiles.
//!
//! It depends on no graph and no runtime.
#![forbid(unsafe_code)]

mod calibration;
mod edges;
mod local;
mod neighbours;
mod normal_scores;
mod score;
#[cfg(any(test, feature = "testing"))]
mod testing;
mod verdict;

pub use calibration::{Calibration, fewest_images};
pub use edges::EdgeMaps;
pub use local::{LocalCalibration, Parts, References};
pub use neighbours::{NEIGHBOURS, Neighbours, Remoteness};
pub use normal_scores::NormalScores;
pub use score::{Aggregation, ChainScore, Score, aggregate};
#[cfg(any(test, feature = "testing"))]
pub use testing::references_of;
pub use verdict::{CalibrationSummary, Decision, Quantile};
