//! Memory banks and calibrations for tests.

use crate::error::FitError;
use crate::memory_bank::MemoryBank;
use crate::neighbours::Neighbours;
use crate::sites::{Parts, Rule, SiteBank, SiteCalibration, SiteGrid};

const COMPONENTS: usize = 16;

/// Images to compare others with, of images x of sizes C, H, W, by their first values.
///
/// # Errors
/// When they make no [`MemoryBank`].
pub fn memory_bank_of(x: &[f32], image: [usize; 3]) -> Result<MemoryBank, FitError> {
    let neighbours = |x: &[f32], values: usize| {
        let p = values.min(COMPONENTS);
        // The first values, one a component.
        let basis = (0..values * p).map(|i| f32::from(u8::from(i / p == i % p)));
        Neighbours::new(vec![0.0; values], &basis.collect::<Vec<_>>(), x)
    };
    MemoryBank::fit(x, image, neighbours, neighbours)
}

/// The calibration of `images` images of 2 x 3 sites, each of two values, of which no two images are alike.
///
/// # Errors
/// When there are too few images.
pub fn site_calibration_of(images: usize, rule: Rule) -> Result<SiteCalibration, FitError> {
    let grid = SiteGrid {
        rows: 2,
        columns: 3,
    };
    let x: Vec<f32> = (0..4 * 6 * 2)
        .map(|index| (index * 7 % 48) as f32)
        .collect();
    let of_images: Vec<u32> = (0..4 * 6).map(|site| site / 6).collect();
    let bank = SiteBank::fit(&x, 2, &of_images, 8, 0)?;
    let parts: Vec<Parts> = (0..images)
        .map(|image| {
            let value = |site: usize| ((image * 13 + site * 5) % 101) as f32 + site as f32;
            Parts {
                negative_log_joint: (0..6).map(value).collect(),
                distance: (6..12).map(value).collect(),
            }
        })
        .collect();
    SiteCalibration::new(bank, grid, rule, &parts)
}
