//! Pictures of what a model makes of images.

use lfbm_bundle::manifest::ImageSpec;
use lfbm_model::pixels;

use super::completions::Completions;
use crate::evaluate::picture;
use crate::output::{OutputError, OutputFolder, write_png};

/// Images in the picture.
const SHOWN: usize = 16;
/// Chains in the picture: as many as the paper's inpainting has.
const CHAINS_SHOWN: usize = 10;

/// Rows of the picture: visible parts of incomplete images, the chains' images, and the truth.
pub(super) fn rows(
    truth: &[f32],
    masks: Option<&[f32]>,
    made: &Completions,
    spec: &ImageSpec,
) -> Vec<Vec<f32>> {
    let made = &made.generated[..SHOWN.min(made.generated.len())];
    let truth = &truth[..made.len() * spec.pixels()];
    let chains = made.first().map_or(0, Vec::len).min(CHAINS_SHOWN);
    let of_chain = |chain: usize| made.iter().map(move |of_image| &of_image[chain]);
    let Some(masks) = masks else {
        let reconstructed = (0..chains).map(|chain| of_chain(chain).flatten().copied().collect());
        return reconstructed.chain([truth.to_vec()]).collect();
    };
    let completed = (0..chains).map(|chain| {
        let images = truth
            .chunks(spec.pixels())
            .zip(masks.chunks(spec.positions()));
        let complete = |((truth, mask), made): (_, &Vec<f32>)| pixels::complete(truth, mask, made);
        images.zip(of_chain(chain)).flat_map(complete).collect()
    });
    let mut seen = truth.to_vec();
    pixels::hide_all(&mut seen, masks, spec);
    let rows = [seen].into_iter().chain(completed);
    rows.chain([truth.to_vec()]).collect()
}

/// Writes every image that the model made as `IMAGE-CHAIN.png`; of incomplete images, with the visible values of
/// the truth.
///
/// # Errors
/// When the disk fails.
pub(super) fn write_each(
    folder: &OutputFolder,
    truth: &[f32],
    masks: Option<&[f32]>,
    made: &Completions,
    spec: &ImageSpec,
) -> Result<(), OutputError> {
    let truths = truth.chunks(spec.pixels());
    for (index, (truth, of_image)) in truths.zip(&made.generated).enumerate() {
        let mask = masks.map(|masks| &masks[index * spec.positions()..][..spec.positions()]);
        for (chain, made) in of_image.iter().enumerate() {
            let file = folder.file(&format!("{index:05}-{chain:02}.png"));
            let image = match mask {
                None => picture(spec, made),
                Some(mask) => picture(spec, &pixels::complete(truth, mask, made)),
            };
            write_png(&file, image)?;
        }
    }
    Ok(())
}
