use std::io::Cursor;

use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use lfbm_bundle::manifest::ImageSpec;
use lfbm_bundle::pixels;

use super::Violation;
use super::tensor::{self, Fields};
use crate::proto;
use proto::image::Content;

const ENCODED: &str = "image.encoded";
const TENSOR: Fields = Fields {
    data_type: "image.tensor.data_type",
    shape: "image.tensor.shape",
    data: "image.tensor.data",
};

/// What a file may hold beside its pixels when it is unpacked: a colour profile, for one, which can
/// be a thousand times smaller in the file.
const PROFILE_BYTES: u64 = 4 << 20;
/// A pixel of 16 bits a channel with alpha, once in the file's form and once decoded.
const WIDEST_PIXEL_BYTES: u64 = 16;

/// The intensities of an image, C H W values in [0, 1].
///
/// # Errors
/// When it is absent, broken, of another size than `spec`'s, or not in range. Sizes are checked
/// before pixels are decoded, so that a small file cannot claim much memory.
pub fn decode(image: Option<&proto::Image>, spec: &ImageSpec) -> Result<Vec<f32>, Violation> {
    match image.and_then(|image| image.content.as_ref()) {
        None => Err(Violation::new(
            "image",
            "expected an encoded image or a tensor, got neither",
        )),
        Some(Content::Encoded(bytes)) => decode_file(bytes, spec),
        Some(Content::Tensor(tensor)) => decode_tensor(tensor, spec),
    }
}

/// What decoding an image takes at most, beside its message.
pub fn decode_bytes(image: Option<&proto::Image>, spec: &ImageSpec) -> usize {
    let values = size_of::<f32>() * spec.pixels();
    match image.and_then(|image| image.content.as_ref()) {
        None => 0,
        Some(Content::Tensor(_)) => values,
        // Files of another size are refused by their heads.
        Some(Content::Encoded(_)) => values + WIDEST_PIXEL_BYTES as usize * spec.positions(),
    }
}

fn decode_file(bytes: &[u8], spec: &ImageSpec) -> Result<Vec<f32>, Violation> {
    let wrong = |reason: String| Violation::new(ENCODED, reason);
    if bytes.is_empty() {
        return Err(wrong(
            "expected a PNG or JPEG file, got no bytes".to_owned(),
        ));
    }
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| wrong(error.to_string()))?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg)) {
        return Err(wrong("expected a PNG or JPEG file, got neither".to_owned()));
    }
    let mut limits = ::image::Limits::no_limits();
    limits.max_alloc = Some(PROFILE_BYTES + WIDEST_PIXEL_BYTES * spec.positions() as u64);
    // Without one on the image's size, which has a better message below.
    reader.limits(limits.clone());
    let broken = |error: ::image::ImageError| {
        let reason = error.to_string();
        // Of some decoders it ends a line.
        wrong(format!("the file is broken: {}", reason.trim_end()))
    };
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if (width as usize, height as usize) != (spec.width, spec.height) {
        return Err(wrong(format!(
            "expected {} x {} pixels (width x height), got {width} x {height}",
            spec.width, spec.height
        )));
    }
    limits.max_image_width = Some(width);
    limits.max_image_height = Some(height);
    decoder.set_limits(limits).map_err(broken)?;
    let image = DynamicImage::from_decoder(decoder).map_err(broken)?;
    Ok(pixels::from_image(&image, spec.channels))
}

fn decode_tensor(tensor: &proto::Tensor, spec: &ImageSpec) -> Result<Vec<f32>, Violation> {
    let shape = [spec.channels, spec.height, spec.width];
    let from_bytes = |bytes: &[u8]| pixels::from_bytes(bytes).collect();
    let intensities = tensor::values(tensor, shape, from_bytes, &TENSOR)?;
    // NaN is in no range.
    let outside = intensities.iter().position(|v| !(0.0..=1.0).contains(v));
    match outside {
        None => Ok(intensities),
        Some(index) => Err(Violation::new(
            TENSOR.data,
            format!(
                "expected intensities from 0 to 1, got {} at index {index}",
                intensities[index]
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{GrayImage, RgbImage};
    use lfbm_bundle::manifest::Contrast;

    const SPEC: ImageSpec = ImageSpec {
        channels: 1,
        height: 2,
        width: 3,
        value_range: [-1.0, 1.0],
        contrast: Contrast::None,
    };

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> proto::Image {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        file(bytes.into_inner())
    }

    fn file(bytes: Vec<u8>) -> proto::Image {
        proto::Image {
            content: Some(Content::Encoded(bytes)),
        }
    }

    fn tensor(data_type: proto::DataType, shape: &[u64], data: Vec<u8>) -> proto::Image {
        proto::Image {
            content: Some(Content::Tensor(proto::Tensor {
                data_type: data_type.into(),
                shape: shape.to_vec(),
                data,
            })),
        }
    }

    #[test]
    fn files_and_tensors_are_the_same_image() {
        let bytes = vec![0, 51, 102, 153, 204, 255];
        let expected: Vec<f32> = bytes.iter().map(|&v| f32::from(v) / 255.0).collect();
        let grey = GrayImage::from_raw(3, 2, bytes.clone()).unwrap();
        let floats: Vec<u8> = expected.iter().flat_map(|v| v.to_le_bytes()).collect();
        for image in [
            encoded(grey, ImageFormat::Png),
            tensor(proto::DataType::Uint8, &[1, 2, 3], bytes),
            tensor(proto::DataType::Float32, &[2, 3], floats),
        ] {
            assert_eq!(decode(Some(&image), &SPEC).unwrap(), expected);
        }
        let white = encoded(
            RgbImage::from_pixel(3, 2, [255; 3].into()),
            ImageFormat::Jpeg,
        );
        assert_eq!(decode(Some(&white), &SPEC).unwrap(), [1.0; 6]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let png = match encoded(GrayImage::new(3, 2), ImageFormat::Png).content {
            Some(Content::Encoded(bytes)) => bytes,
            _ => unreachable!(),
        };
        let nan: Vec<u8> = [0.0, 0.5, f32::NAN, 0.0, 0.0, 0.0]
            .iter()
            .flat_map(|v: &f32| v.to_le_bytes())
            .collect();
        let uint8 = proto::DataType::Uint8;
        for (image, field, part) in [
            (None, "image", "neither"),
            (Some(proto::Image::default()), "image", "neither"),
            (Some(file(Vec::new())), ENCODED, "no bytes"),
            (Some(file(b"GIF89a".to_vec())), ENCODED, "neither"),
            (
                Some(file(png[..png.len() - 20].to_vec())),
                ENCODED,
                "broken",
            ),
            (Some(file(png[..20].to_vec())), ENCODED, "broken"),
            (
                Some(encoded(GrayImage::new(2, 3), ImageFormat::Png)),
                ENCODED,
                "expected 3 x 2 pixels (width x height), got 2 x 3",
            ),
            (
                Some(tensor(uint8, &[3, 2], vec![0; 6])),
                TENSOR.shape,
                "[1, 2, 3]",
            ),
            (
                Some(tensor(uint8, &[2, 3], vec![0; 5])),
                TENSOR.data,
                "6 bytes, got 5",
            ),
            (
                Some(tensor(proto::DataType::Unspecified, &[2, 3], vec![0; 6])),
                TENSOR.data_type,
                "DATA_TYPE_UINT8",
            ),
            (
                Some(tensor(proto::DataType::Float32, &[2, 3], nan)),
                TENSOR.data,
                "NaN at index 2",
            ),
        ] {
            let violation = decode(image.as_ref(), &SPEC).unwrap_err();
            assert_eq!(violation.field, field, "{violation:?}");
            assert!(violation.description.contains(part), "{violation:?}");
        }
    }

    #[test]
    fn a_file_that_claims_many_pixels_is_refused_by_its_head() {
        let huge = encoded(GrayImage::new(4000, 4000), ImageFormat::Png);
        let violation = decode(Some(&huge), &SPEC).unwrap_err();
        assert!(
            violation.description.contains("4000 x 4000"),
            "{violation:?}"
        );
    }
}
