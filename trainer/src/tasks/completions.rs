//! Images generated from visible pixels, and their errors.

use anyhow::ensure;
use lfbm_bundle::manifest::{ImageSpec, Langevin};
use lfbm_detector::ChainScore;
use lfbm_model::pixels;
use lfbm_runtime::Inference;
use serde::Serialize;

/// Batch size of the generator.
const GENERATED_AT_ONCE: usize = 256;

/// Generated images.
#[derive(Clone, Debug)]
pub struct Completions {
    /// Per image and chain, the chain with the highest log-joint first: what the model makes of z as intensities,
    /// C H W, with the image's contrast.
    pub generated: Vec<Vec<Vec<f32>>>,
}

/// Infers latents of `images`, n x C H W intensities in [0, 1], from their visible pixels (`masks`,
/// n x H W, 1 = visible; all without masks), and generates images of them.
///
/// # Errors
/// When a run fails or a chain diverges.
pub fn complete(
    inference: &mut Inference,
    images: &[f32],
    masks: Option<&[f32]>,
    langevin: &Langevin,
    seed: u64,
    progress: &mut dyn FnMut(usize),
) -> anyhow::Result<Completions> {
    let spec = *inference.image();
    // Where x are features, chains are of them.
    let features = (inference.has_decoder())
        .then(|| inference.preprocess(images))
        .transpose()?;
    let inputs = features.as_deref().unwrap_or(images);
    let mut chains = inference.chains(inputs, masks, langevin, seed, progress)?;
    let finite = |chain: &ChainScore| chain.log_joint().is_finite();
    ensure!(
        chains.iter().flatten().all(finite),
        "some chains diverged; give a smaller --step-size"
    );
    for of_image in &mut chains {
        of_image.sort_by(|a, b| b.log_joint().total_cmp(&a.log_joint()));
    }
    let mut seen = images.to_vec();
    if let Some(masks) = masks {
        pixels::hide_all(&mut seen, masks, &spec);
    }
    let latents: Vec<&[f32]> = chains.iter().flatten().map(|chain| &chain.z[..]).collect();
    let mut x = Vec::with_capacity(latents.len() * spec.pixels());
    for some in latents.chunks(GENERATED_AT_ONCE) {
        x.extend(inference.reconstruct(&some.concat())?);
    }
    let mut x = x.chunks(spec.pixels());
    let generated = chains.iter().zip(seen.chunks(spec.pixels()));
    let generated = generated.map(|(of_image, seen)| {
        let x = x.by_ref().take(of_image.len());
        x.map(|x| pixels::from_x(x, &spec, Some(seen))).collect()
    });
    Ok(Completions {
        generated: generated.collect(),
    })
}

/// `images` with their hidden pixels as the model completes them.
///
/// # Errors
/// When a run fails or a chain diverges.
pub fn recover(
    inference: &mut Inference,
    images: &[f32],
    masks: &[f32],
    langevin: &Langevin,
    seed: u64,
) -> anyhow::Result<Vec<f32>> {
    let one_chain = Langevin {
        chains: 1,
        ..*langevin
    };
    let made = complete(
        inference,
        images,
        Some(masks),
        &one_chain,
        seed,
        &mut |_| (),
    )?;
    let spec = inference.image();
    let images = images
        .chunks(spec.pixels())
        .zip(masks.chunks(spec.positions()));
    let recovered = images.zip(&made.generated);
    let recovered =
        recovered.flat_map(|((image, mask), made)| pixels::complete(image, mask, &made[0]));
    Ok(recovered.collect())
}

/// Mean squared errors of intensities in [0, 1], over all values of whole images, and over
/// the hidden ones of incomplete images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeanSquaredError {
    /// Of each image's chain with the highest log-joint.
    pub best_chain: f64,
    /// Its standard error over images.
    pub standard_error: f64,
    /// Over all chains.
    pub all_chains: f64,
}

impl Completions {
    /// Their errors against `truth`, n x C H W.
    pub fn error(
        &self,
        truth: &[f32],
        masks: Option<&[f32]>,
        spec: &ImageSpec,
    ) -> MeanSquaredError {
        let per_image: Vec<Vec<f64>> = (self.generated.iter().enumerate())
            .map(|(index, of_image)| {
                let truth = &truth[index * spec.pixels()..][..spec.pixels()];
                let mask =
                    masks.map(|masks| &masks[index * spec.positions()..][..spec.positions()]);
                of_image
                    .iter()
                    .map(|made| squared_error(made, truth, mask))
                    .collect()
            })
            .collect();
        let best: Vec<f64> = per_image.iter().map(|chains| chains[0]).collect();
        let n = best.len() as f64;
        let mean = best.iter().sum::<f64>() / n;
        let variance = best.iter().map(|error| (error - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let all = per_image
            .iter()
            .map(|chains| chains.iter().sum::<f64>() / chains.len() as f64);
        MeanSquaredError {
            best_chain: mean,
            standard_error: (variance / n).sqrt(),
            all_chains: all.sum::<f64>() / n,
        }
    }
}

/// The mean over the selected values.
fn squared_error(made: &[f32], truth: &[f32], mask: Option<&[f32]>) -> f64 {
    let counts = |index: usize| mask.is_none_or(|mask| mask[index % mask.len()] == 0.0);
    let pairs = made.iter().zip(truth).enumerate();
    let errors = pairs
        .filter(|(index, _)| counts(*index))
        .map(|(_, (made, truth))| f64::from(made - truth).powi(2));
    let (sum, count) = errors.fold((0.0, 0), |(sum, count), error| (sum + error, count + 1));
    sum / f64::from(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfbm_bundle::manifest::{Contrast, Intake};

    #[test]
    fn only_hidden_values_count() {
        let spec = ImageSpec {
            channels: 3,
            height: 1,
            width: 2,
            value_range: [-1.0, 1.0],
            contrast: Contrast::None,
            intake: Intake::STRETCH,
        };
        // Two images of two chains; only the second pixel is hidden.
        let truth = [0.0, 0.5, 0.0, 0.5, 0.0, 0.5].repeat(2);
        let made = |value: f32| vec![0.9, value, 0.9, value, 0.9, value];
        let completions = Completions {
            generated: vec![vec![made(0.5), made(0.7)], vec![made(0.1), made(0.5)]],
        };
        let masks = [1.0, 0.0].repeat(2);
        let error = completions.error(&truth, Some(&masks), &spec);
        assert!((error.best_chain - 0.08).abs() < 1e-6, "{error:?}");
        assert!((error.all_chains - 0.05).abs() < 1e-6, "{error:?}");
        let error = completions.error(&truth, None, &spec);
        assert!(
            (error.best_chain - (0.81 + 0.08) / 2.0).abs() < 1e-6,
            "{error:?}"
        );
    }
}
