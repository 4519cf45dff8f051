use lfbm_bundle::manifest::ImageSpec;
use lfbm_images::{Header, ImageError};
use lfbm_model::pixels;

use super::Violation;
use super::tensor::{self, Fields, Tensor};

const ENCODED: &str = "image.encoded";
const TENSOR: Fields = Fields {
    shape: "image.tensor.shape",
    data: "image.tensor.data",
};

/// An image as it came.
#[derive(Clone, Debug)]
pub enum Image {
    /// A file of any format that `lfbm-images` reads.
    File(Vec<u8>),
    /// Intensities, C H W.
    Tensor(Tensor),
}

impl Image {
    /// Its bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::File(file) => file.len(),
            Self::Tensor(tensor) => tensor.data.len(),
        }
    }

    /// The intensities, C H W values in [0, 1].
    ///
    /// # Errors
    /// When it is broken, of another size than `spec`'s, or not in range. Sizes are checked before
    /// pixels are decoded, so that a small file cannot claim much memory.
    pub fn decode(&self, spec: &ImageSpec) -> Result<Vec<f32>, Violation> {
        match self {
            Self::File(file) => decode_file(file, spec),
            Self::Tensor(tensor) => decode_tensor(tensor, spec),
        }
    }

    /// What decoding takes at most, beside the message.
    pub fn decode_bytes(&self, spec: &ImageSpec) -> usize {
        let values = size_of::<f32>() * spec.pixels();
        match self {
            Self::Tensor(_) => values,
            Self::File(file) => match header(file, spec) {
                Ok(header) => {
                    let decoding = usize::try_from(header.peak_bytes).unwrap_or(usize::MAX);
                    decoding.saturating_add(values)
                }
                // It is refused by its header.
                Err(_) => 0,
            },
        }
    }
}

/// The intensities of the image that a request must have.
pub(super) fn decode(image: Option<&Image>, spec: &ImageSpec) -> Result<Vec<f32>, Violation> {
    let image = image.ok_or_else(|| {
        Violation::new(
            "image",
            "expected an encoded image or a tensor, got neither",
        )
    })?;
    image.decode(spec)
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

fn decode_tensor(tensor: &Tensor, spec: &ImageSpec) -> Result<Vec<f32>, Violation> {
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

    use super::super::tensor::DataType;
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

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Image {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        Image::File(bytes.into_inner())
    }

    fn tensor(data_type: DataType, shape: &[u64], data: Vec<u8>) -> Image {
        Image::Tensor(Tensor {
            data_type: Ok(data_type),
            shape: shape.to_vec(),
            data,
        })
    }

    #[test]
    fn files_and_tensors_are_the_same_image() {
        let bytes = vec![0, 51, 102, 153, 204, 255];
        let expected: Vec<f32> = bytes.iter().map(|&v| f32::from(v) / 255.0).collect();
        let grey = GrayImage::from_raw(3, 2, bytes.clone()).unwrap();
        let floats: Vec<u8> = expected.iter().flat_map(|v| v.to_le_bytes()).collect();
        for image in [
            encoded(grey, ImageFormat::Png),
            tensor(DataType::Uint8, &[1, 2, 3], bytes),
            tensor(DataType::Float32, &[2, 3], floats),
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
        let Image::File(png) = encoded(GrayImage::new(3, 2), ImageFormat::Png) else {
            unreachable!()
        };
        let nan: Vec<u8> = [0.0, 0.5, f32::NAN, 0.0, 0.0, 0.0]
            .iter()
            .flat_map(|v: &f32| v.to_le_bytes())
            .collect();
        let uint8 = DataType::Uint8;
        for (image, field, part) in [
            (None, "image", "neither"),
            (Some(Image::File(Vec::new())), ENCODED, "no bytes"),
            (Some(Image::File(b"GIF89a".to_vec())), ENCODED, "got a GIF"),
            (
                Some(Image::File(png[..png.len() - 20].to_vec())),
                ENCODED,
                "ends too early",
            ),
            (
                Some(Image::File(png[..20].to_vec())),
                ENCODED,
                "ends too early",
            ),
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
                Some(tensor(DataType::Float32, &[2, 3], nan)),
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
