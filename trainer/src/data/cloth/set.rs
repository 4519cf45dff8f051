//! An inspection data set of drawn cloth.

use std::path::Path;

use lfbm_images::Size;
use rayon::prelude::*;

use super::{Fault, draw};
use crate::output::{OutputError, write_png};

/// Normal images to fit, for each normal image to test.
const FITTED_PER_NORMAL: usize = 4;
/// Normal images to fit, for each image of a kind of fault.
const FITTED_PER_FAULT: usize = 16;

/// Writes cloths in the layout of MVTec AD: `count` normal ones to `train/good`, a quarter as many to
/// `test/good`, and a sixteenth as many with each fault to `test/FAULT`, with masks in
/// `ground_truth/FAULT`; at least one of each.
///
/// # Errors
/// When the disk fails.
pub fn write_set(folder: &Path, count: usize, size: Size, seed: u64) -> Result<(), OutputError> {
    let faults = Fault::ALL.map(|fault| {
        let count = (count / FITTED_PER_FAULT).max(1);
        (format!("test/{fault}"), Some(fault), count)
    });
    let normal = (count / FITTED_PER_NORMAL).max(1);
    let parts = [
        ("train/good".to_owned(), None, count),
        ("test/good".to_owned(), None, normal),
    ];
    for (part, (name, fault, count)) in parts.into_iter().chain(faults).enumerate() {
        let images = folder.join(&name);
        create(&images)?;
        let masks = fault.map(|fault| folder.join(format!("ground_truth/{fault}")));
        masks.as_deref().map(create).transpose()?;
        let write = |index: usize| {
            // The images of different parts have different numbers.
            let cloth = draw(size, fault, seed, (part as u64) << 48 | index as u64);
            write_png(&images.join(format!("{index:03}.png")), cloth.image)?;
            match &masks {
                Some(masks) => write_png(&masks.join(format!("{index:03}_mask.png")), cloth.mask),
                None => Ok(()),
            }
        };
        (0..count).into_par_iter().try_for_each(write)?;
    }
    Ok(())
}

fn create(folder: &Path) -> Result<(), OutputError> {
    std::fs::create_dir_all(folder).map_err(|source| OutputError::Io {
        path: folder.to_path_buf(),
        source,
    })
}
