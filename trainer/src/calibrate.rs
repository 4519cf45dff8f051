//! The calibration: scores of held-out normal images, and the stored images for kNN distances.

use anyhow::{Context, ensure};
use lfbm_bundle::calibration::Calibration;
use lfbm_bundle::inference::{Inference, SCORE_SEED};
use lfbm_bundle::local::References;
use lfbm_bundle::manifest::Langevin;
use lfbm_bundle::neighbours::Neighbours;
use tch::Tensor;

use crate::data::{Dataset, Split};
use crate::principal::Components;
use crate::settings::{CalibrationSettings, IncompleteSettings};
use crate::tasks::recover;

/// Principal components for kNN distances of pixels: on validation digits, 30 and 40 were better than
/// 20 and 50.
const PIXEL_COMPONENTS: i64 = 30;
/// The same between HOG descriptors: 60 and 100 were no better.
const EDGE_COMPONENTS: i64 = 40;

/// Scores the split's calibration images, and makes its training images the ones that others are
/// compared with, unless there are `references`. Where the fit saw incomplete images, what it did not see of them is recovered by
/// the model, so that it does not come into the bundle either.
///
/// # Errors
/// When there are too few images, chains diverge, or a run fails.
pub fn calibrate(
    inference: &mut Inference,
    langevin: &Langevin,
    settings: &CalibrationSettings,
    incomplete: &IncompleteSettings,
    dataset: &Dataset,
    split: &Split,
    references: Option<References>,
) -> anyhow::Result<Calibration> {
    let images = dataset.gather(&split.calibration);
    let scores = inference.score(&images, langevin, SCORE_SEED, &mut |_| ())?;
    ensure!(
        scores.iter().all(|score| score.log_joint.is_finite()),
        "a calibration image has no finite score; inference diverges, lower inference.step_size"
    );
    let x = inference.preprocess(&images)?;
    let references = match references {
        Some(references) => Some(references),
        None => references_of_fit(inference, langevin, settings, incomplete, dataset, split)?,
    };
    references
        .and_then(|references| Calibration::from_scores(&scores, &x, references))
        .with_context(|| {
            format!(
                "local scores need more than 10 images to compare with and 40 to calibrate on; \
                 there are {} and {}: raise calibration.neighbours or calibration.count",
                settings.neighbours.min(split.train.len()),
                scores.len()
            )
        })
}

fn references_of_fit(
    inference: &mut Inference,
    langevin: &Langevin,
    settings: &CalibrationSettings,
    incomplete: &IncompleteSettings,
    dataset: &Dataset,
    split: &Split,
) -> anyhow::Result<Option<References>> {
    let count = settings.neighbours.min(split.train.len());
    let mut references = dataset.gather(&split.train[..count]);
    if let Some(masks) = incomplete.masks(dataset, &split.train[..count]) {
        references = recover(inference, &references, &masks, langevin, SCORE_SEED)?;
    }
    let references = inference.preprocess(&references)?;
    Ok(references_of(
        &references,
        [dataset.channels, dataset.height, dataset.width],
    ))
}

fn references_of(x: &[f32], image: [usize; 3]) -> Option<References> {
    References::of(
        x,
        image,
        |x, values| neighbours(x, values, PIXEL_COMPONENTS),
        |x, values| neighbours(x, values, EDGE_COMPONENTS),
    )
}

/// Neighbours in the first `count` principal components of vectors of `values` values.
fn neighbours(x: &[f32], values: usize, count: i64) -> Option<Neighbours> {
    let vectors = Tensor::from_slice(x).view([-1, values as i64]);
    let components = Components::of(&vectors, count);
    let values = |tensor: &Tensor| Vec::<f32>::try_from(&tensor.contiguous().view([-1])).ok();
    Neighbours::new(values(&components.mean)?, &values(&components.basis)?, x)
}
