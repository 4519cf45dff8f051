//! Images for replies.

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat, Rgb, RgbImage};
use lfbm_bundle::manifest::ImageSpec;
use lfbm_wire::{DataType, RenderedImage, Tensor};

use super::ServiceError;
use crate::request::ImageForm;

/// Values of an image, C H W, in the wanted forms; `draw` makes the picture.
pub(super) fn rendered(
    values: &[f32],
    spec: &ImageSpec,
    form: ImageForm,
    draw: fn(&[f32], &ImageSpec) -> DynamicImage,
) -> Result<RenderedImage, ServiceError> {
    if !values.iter().all(|value| value.is_finite()) {
        return Err(ServiceError::NotFinite("an image"));
    }
    let mut png = Cursor::new(Vec::new());
    if form != ImageForm::Tensor {
        draw(values, spec).write_to(&mut png, ImageFormat::Png)?;
    }
    let tensor = (form != ImageForm::Png).then(|| Tensor {
        data_type: DataType::Float32.into(),
        shape: [spec.channels, spec.height, spec.width]
            .map(|size| size as u64)
            .to_vec(),
        data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    });
    Ok(RenderedImage {
        png: png.into_inner(),
        tensor,
    })
}

/// A picture of intensities, grey or RGB.
pub(super) fn picture(intensities: &[f32], spec: &ImageSpec) -> DynamicImage {
    let byte = |x, y, channel| {
        let value = at(intensities, spec, x, y, channel);
        (255.0 * value).round() as u8
    };
    let (width, height) = (spec.width as u32, spec.height as u32);
    if spec.channels == 1 {
        GrayImage::from_fn(width, height, |x, y| [byte(x, y, 0)].into()).into()
    } else {
        RgbImage::from_fn(width, height, |x, y| {
            [0, 1, 2].map(|c| byte(x, y, c)).into()
        })
        .into()
    }
}

/// A picture of differences from -1 to 1: red where their sum over channels is above 0, else blue; white where all
/// are 0, by their mean magnitude, as that of a colour does not cancel in the sum.
pub(super) fn heat(differences: &[f32], spec: &ImageSpec) -> DynamicImage {
    RgbImage::from_fn(spec.width as u32, spec.height as u32, |x, y| {
        let channels = (0..spec.channels).map(|channel| at(differences, spec, x, y, channel));
        let (sum, magnitude) = channels.fold((0.0, 0.0), |(sum, magnitude), difference| {
            (sum + difference, magnitude + difference.abs())
        });
        let fade = (255.0 * (1.0 - magnitude / spec.channels as f32)).round() as u8;
        if sum > 0.0 {
            Rgb([255, fade, fade])
        } else {
            Rgb([fade, fade, 255])
        }
    })
    .into()
}

fn at(values: &[f32], spec: &ImageSpec, x: u32, y: u32, channel: usize) -> f32 {
    values[channel * spec.positions() + y as usize * spec.width + x as usize]
}
