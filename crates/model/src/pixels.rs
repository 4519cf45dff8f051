//! Pixels to intensities in [0, 1], and x back to them: the one place that fitting and serving
//! share, before `preprocess.onnx` and after the generator.

use crate::image::{Contrast, ImageSpec};

/// An all-black image has no contrast to normalise; below this norm it stays as it is.
pub(crate) const SMALLEST_NORM: f32 = 1e-3;

/// Intensities of bytes: v / 255.
pub fn from_bytes(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.iter().map(|&byte| f32::from(byte) / 255.0)
}

/// The byte of an intensity, the nearest; of one beyond [0, 1], that of the end that is nearer.
pub fn to_byte(intensity: f32) -> u8 {
    // Floats beyond the range of bytes become its ends.
    (intensity * 255.0).round() as u8
}

/// Intensities of x, C H W values as `preprocess.onnx` gives them, cut to [0, 1]: undoes the value
/// range and, where `spec` normalises contrast, gives the contrast of the intensities `like` back.
/// Without `like`, contrast stays normalised.
pub fn from_x(x: &[f32], spec: &ImageSpec, like: Option<&[f32]>) -> Vec<f32> {
    let [low, high] = spec.value_range;
    let contrast = match (spec.contrast, like) {
        (Contrast::UnitNorm { norm }, Some(like)) => {
            let square: f32 = like.iter().map(|v| v * v).sum();
            square.sqrt().max(SMALLEST_NORM) / norm
        }
        (Contrast::UnitNorm { .. }, None) | (Contrast::None, _) => 1.0,
    };
    x.iter()
        .map(|x| ((x - low) / (high - low) * contrast).clamp(0.0, 1.0))
        .collect()
}

/// Intensities in the value range of images, with the contrast that they have.
pub fn in_range(intensities: &[f32], spec: &ImageSpec) -> Vec<f32> {
    let [low, high] = spec.value_range;
    let scaled = intensities.iter().map(|value| low + value * (high - low));
    scaled.collect()
}

/// Makes the hidden pixels of an image black: C H W values, and a mask of H W with 1 = visible.
pub fn hide(image: &mut [f32], mask: &[f32]) {
    for plane in image.chunks_mut(mask.len()) {
        for (value, visible) in plane.iter_mut().zip(mask) {
            *value *= visible;
        }
    }
}

/// [`hide`] for many images, n x C H W, each with a mask of its own, n x H W.
pub fn hide_all(images: &mut [f32], masks: &[f32], spec: &ImageSpec) {
    let images = images.chunks_mut(spec.pixels());
    for (image, mask) in images.zip(masks.chunks(spec.positions())) {
        hide(image, mask);
    }
}

/// An image with its hidden pixels taken from `made`, both C H W intensities, under a mask of H W
/// with 1 = visible.
pub fn complete(image: &[f32], mask: &[f32], made: &[f32]) -> Vec<f32> {
    let pairs = image.iter().zip(made).enumerate();
    let pick = |(index, (&visible, &made))| {
        if mask[index % mask.len()] > 0.0 {
            visible
        } else {
            made
        }
    };
    pairs.map(pick).collect()
}
