//! The calibration: scores of held-out normal images, and the stored images for kNN distances.

use anyhow::{Context, ensure};
use lfbm_bundle::manifest::Langevin;
use lfbm_detector::{Calibration, MemoryBank, Neighbours};
use lfbm_runtime::{Inference, SCORE_SEED};
use tch::Tensor;

use crate::data::{Dataset, Split};
use crate::principal::Components;
use crate::settings::{CalibrationSettings, IncompleteSettings};
use crate::tasks::recover;

/// Principal components for kNN distances of pixels: on validation digits, 30 and 40 were better than
/// 20 and 50.
const PIXEL_COMPONENTS: i64 = 30;
/// The same for HOG descriptors: 60 and 100 were no better.
const EDGE_COMPONENTS: i64 = 40;

/// Scores the split's calibration images, and stores its training images for kNN distances, unless
/// a `memory_bank` is given. If the fit saw incomplete images, their hidden pixels are recovered by the
/// model, so that the bundle does not store pixels that the fit did not see.
///
/// # Errors
/// When there are too few images, chains diverge, or a run fails.
pub(super) fn calibrate(
    inference: &mut Inference,
    langevin: &Langevin,
    settings: &CalibrationSettings,
    incomplete: &IncompleteSettings,
    dataset: &Dataset,
    split: &Split,
    memory_bank: Option<MemoryBank>,
) -> anyhow::Result<Calibration> {
    let images = dataset.gather(&split.calibration);
    let scores = inference.score(&images, langevin, SCORE_SEED, &mut |_| ())?;
    ensure!(
        scores.iter().all(|score| score.log_joint.is_finite()),
        "a calibration image has no finite score; inference diverges, lower inference.step_size"
    );
    let x = inference.preprocess(&images)?;
    let memory_bank = match memory_bank {
        Some(memory_bank) => memory_bank,
        None => memory_bank_of_fit(inference, langevin, settings, incomplete, dataset, split)
            .context("the fitted images make no memory bank (calibration.neighbours)")?,
    };
    Calibration::from_scores(&scores, &x, memory_bank)
        .context("the calibration images make no calibration (calibration.count)")
}

fn memory_bank_of_fit(
    inference: &mut Inference,
    langevin: &Langevin,
    settings: &CalibrationSettings,
    incomplete: &IncompleteSettings,
    dataset: &Dataset,
    split: &Split,
) -> anyhow::Result<MemoryBank> {
    let count = settings.neighbours.min(split.train.len());
    let mut images = dataset.gather(&split.train[..count]);
    if let Some(masks) = incomplete.masks(dataset, &split.train[..count]) {
        images = recover(inference, &images, &masks, langevin, SCORE_SEED)?;
    }
    let x = inference.preprocess(&images)?;
    let numbered = settings.names && !dataset.files.is_empty();
    MemoryBank::fit(
        &x,
        [dataset.channels, dataset.height, dataset.width],
        |x, values| neighbours(x, values, PIXEL_COMPONENTS, numbered),
        |x, values| neighbours(x, values, EDGE_COMPONENTS, numbered),
    )
}

/// Neighbours in the first `count` principal components of vectors of `values` values.
fn neighbours(x: &[f32], values: usize, count: i64, numbered: bool) -> anyhow::Result<Neighbours> {
    let vectors = Tensor::from_slice(x).view([-1, values as i64]);
    let components = Components::of(&vectors, count);
    let values = |tensor: &Tensor| Vec::<f32>::try_from(&tensor.contiguous().view([-1]));
    let (mean, basis) = (values(&components.mean)?, values(&components.basis)?);
    let neighbours = if numbered {
        Neighbours::numbered(mean, &basis, x)
    } else {
        Neighbours::new(mean, &basis, x)
    };
    Ok(neighbours?)
}
