//! Scores of an image's *sites*: the cells of a grid over it, each with a vector x_s of D values and, from
//! the model, log p(z_s) + log p(x_s|z_s).
//!
//! * [`SiteBank`] holds sites of normal images, and finds the nearest one;
//! * [`Scorer`] brings the [`Parts`] of an image to one scale and makes a map of them, and one score of
//!   the map, as a [`Rule`] says;
//! * [`SiteCalibration`] holds the scores of normal images: p-values and thresholds of an image and of a
//!   site;
//! * [`regions`] finds the parts of a map that lie above a threshold;
//! * [`sum_sites`] makes one score of the scores of an image's sites.
//!
//! Sites are numbered row by row.

mod bank;
mod calibration;
mod coreset;
mod division;
mod grid;
mod regions;
mod rule;
mod scale;
mod scorer;
mod sum;

pub use bank::{ExtendedBank, SiteBank};
pub use calibration::{SiteCalibration, SiteScore};
pub use division::{fewest_images, ranked};
pub use grid::SiteGrid;
pub use regions::{MOST_REGIONS, Region, regions};
pub use rule::Rule;
pub use scorer::{Parts, Scorer};
pub use sum::sum_sites;
