use lfbm_bundle::manifest::ImageSpec;
use lfbm_images::{Header, ImageError};
use lfbm_model::pixels;

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
        Some(Content::Encoded(file)) => match header(file, spec) {
            Ok(header) => {
                let decoding = usize::try_from(header.peak_bytes).unwrap_or(usize::MAX);
                decoding.saturating_add(values)
            }
            // It is refused by its header.
            Err(_) => 0,
        },
    }
}

/// The header of a file whose image has the size of `spec`.
fn header(file: &[u8], spec: &ImageSpec) -> Result<Header, Violation> {
    let header = Header::read(file).map_err(|error| Violation::new(ENCODED, error.to_string()))?;
    let Header { width, height, .. } = header;
    if (width as usize, height as usize) == (spec.width, spec.height) {
        return Ok(header);
    }
    let reason = format!(
        "expected {} x {} pixels (width x height), got {width} x {height}",
        spec.width, spec.height
    );
    Err(Violation::new(ENCODED, reason))
}

fn decode_file(file: &[u8], spec: &ImageSpec) -> Result<Vec<f32>, Violation> {
    header(file, spec)?;
    let wrong = |error: ImageError| Violation::new(ENCODED, error.to_string());
    let image = lfbm_images::decode(file, spec.positions() as u64).map_err(wrong)?;
    let bytes = lfbm_images::planes(&image, spec.channels);
    Ok(pixels::from_bytes(&bytes).collect())
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
    use std::io::Cursor;

    use super::*;
    use ::image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
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
            (Some(file(b"GIF89a".to_vec())), ENCODED, "got a GIF"),
            (
                Some(file(png[..png.len() - 20].to_vec())),
                ENCODED,
                "ends too early",
            ),
            (Some(file(png[..20].to_vec())), ENCODED, "ends too early"),
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
