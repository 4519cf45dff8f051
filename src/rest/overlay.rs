//! An explanation as one picture: the image in grey, and over it in colour where it differs from what
//! the model expects.

use std::io::Cursor;

use image::{ImageFormat, Rgb, RgbImage};
use lfbm_wire::{ExplainResponse, RenderedImage};

use crate::service::ServiceError;

/// Red, where the image is brighter than the model expects.
const BRIGHTER: [f32; 3] = [1.0, 0.0, 0.0];
/// Blue, where it is darker.
const DARKER: [f32; 3] = [0.0, 0.0, 1.0];

/// A PNG file of the model's size. The explanation must have tensors.
///
/// # Errors
/// When the picture cannot be written.
pub(super) fn png(explanation: &ExplainResponse) -> Result<Vec<u8>, ServiceError> {
    let (reconstruction, _) = mean_over_channels(explanation.reconstruction.as_ref());
    let (residual, [height, width]) = mean_over_channels(explanation.residual.as_ref());
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let at = (y * width + x) as usize;
        let expected = reconstruction.get(at).copied().unwrap_or_default();
        let difference = residual.get(at).copied().unwrap_or_default();
        pixel(expected + difference, difference)
    });
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png)?;
    Ok(png.into_inner())
}

/// The means over channels, and height and width.
fn mean_over_channels(image: Option<&RenderedImage>) -> (Vec<f32>, [u32; 2]) {
    let tensor = image.and_then(|image| image.tensor.as_ref());
    let Some((tensor, &[channels, height, width])) =
        tensor.map(|tensor| (tensor, tensor.shape.as_slice()))
    else {
        return (Vec::new(), [0, 0]);
    };
    let values = tensor.data.as_chunks().0.iter();
    let values: Vec<f32> = values.map(|value| f32::from_le_bytes(*value)).collect();
    let positions = (height * width) as usize;
    let mean = |position: usize| {
        let of_channels = values.iter().skip(position).step_by(positions.max(1));
        of_channels.sum::<f32>() / channels as f32
    };
    let means = (0..positions).map(mean).collect();
    (means, [height as u32, width as u32])
}

/// An intensity from 0 to 1 under the colour of a difference from -1 to 1.
fn pixel(intensity: f32, difference: f32) -> Rgb<u8> {
    let colour = if difference > 0.0 { BRIGHTER } else { DARKER };
    let opacity = difference.abs().min(1.0);
    Rgb(colour.map(|colour| {
        let mixed = intensity + opacity * (colour - intensity);
        (255.0 * mixed.clamp(0.0, 1.0)).round() as u8
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_as_expected_is_grey_and_what_is_not_is_coloured() {
        assert_eq!(pixel(0.2, 0.0), Rgb([51, 51, 51]));
        assert_eq!(pixel(1.0, 1.0), Rgb([255, 0, 0]));
        assert_eq!(pixel(0.0, -1.0), Rgb([0, 0, 255]));
        assert_eq!(pixel(0.6, 0.5), Rgb([204, 77, 77]));
    }
}
