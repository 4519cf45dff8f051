//! The calibration: what scores normal images get that were kept out of fitting, and the stored images, or
//! sites, of the fit that others are compared with.

mod extend;
mod faults;
mod names;
mod site_rule;
mod sites;
mod whole;
mod working_size;

use lfbm_bundle::manifest::Manifest;
use lfbm_bundle::{Bundle, ImageNames};
use lfbm_detector::{Calibration, Comparison};
use lfbm_runtime::Inference;

use crate::data::{Dataset, Split};
use crate::settings::{CalibrationSettings, IncompleteSettings};

pub use extend::{Extension, RankedImage, extend};
pub use faults::{FaultError, FaultKind, Faulty, Shape, draw_fault, draw_fault_of};
pub use sites::{SitesOfImage, gathered, score_sites};
pub use working_size::choose_side;

/// A calibration, and the names of the images that it compares others with.
pub struct Calibrated {
    /// The calibration.
    pub calibration: Calibration,
    /// The names; none where they are not to be kept, or images are no files.
    pub names: ImageNames,
}

/// Scores the split's calibration images, and stores its training images, or their sites, for distances
/// to the nearest, unless the calibration of `before`, of other images, has stored ones.
///
/// # Errors
/// When there are too few images, chains diverge, or a run fails.
pub fn calibrate(
    inference: &mut Inference,
    manifest: &Manifest,
    settings: &CalibrationSettings,
    incomplete: &IncompleteSettings,
    dataset: &Dataset,
    split: &Split,
    before: Option<&Bundle>,
) -> anyhow::Result<Calibrated> {
    let comparison = before.map(|before| before.calibration().comparison());
    let calibration = if manifest.representation.is_whole_image() {
        let memory_bank = match comparison {
            Some(Comparison::Local(local)) => Some(local.memory_bank().clone()),
            _ => None,
        };
        let langevin = &manifest.langevin;
        whole::calibrate(
            inference,
            langevin,
            settings,
            incomplete,
            dataset,
            split,
            memory_bank,
        )
    } else {
        let bank = match comparison {
            Some(Comparison::Sites(sites)) => Some(sites.bank().clone()),
            _ => None,
        };
        sites::calibrate(inference, manifest, settings, dataset, split, bank)
    };
    let calibration = calibration?;
    let names = match before {
        _ if !settings.names => ImageNames::default(),
        Some(before) => before.names().clone(),
        None => {
            let mut names = ImageNames::default();
            names::name(&mut names, &calibration, dataset, &split.train, 0);
            names
        }
    };
    Ok(Calibrated { calibration, names })
}
