//! The names of the images that others are compared with.

use std::collections::HashSet;

use lfbm_bundle::ImageNames;
use lfbm_detector::{Calibration, Comparison};

use crate::data::Dataset;

/// The numbers of the images of a calibration's memory bank, if they have some.
pub(super) fn numbers(calibration: &Calibration) -> HashSet<u32> {
    let numbers = match calibration.comparison() {
        Comparison::Local(local) => local.memory_bank().numbers().unwrap_or_default(),
        Comparison::Sites(sites) => sites.bank().images(),
    };
    numbers.iter().copied().collect()
}

/// Names those of the images `indices` of a data set, numbered from `first` on, that a calibration's memory bank
/// holds.
pub(super) fn name(
    names: &mut ImageNames,
    calibration: &Calibration,
    dataset: &Dataset,
    indices: &[usize],
    first: u32,
) {
    let stored = numbers(calibration);
    for (number, &index) in (first..).zip(indices) {
        if let Some(file) = dataset
            .files
            .get(index)
            .filter(|_| stored.contains(&number))
        {
            names.insert(number, file);
        }
    }
}
