use bytes::Bytes;
use lfbm_bundle::manifest::ImageSpec;
use lfbm_images::{Header, IntakeError, Placement, Size};
use lfbm_model::pixels;

use super::Violation;
use super::tensor::{self, DataType, Fields, Tensor};

const FLOAT_BYTES: u64 = size_of::<f32>() as u64;
const ENCODED: &str = "image.encoded";
const TENSOR: Fields = Fields {
    shape: "image.tensor.shape",
    data: "image.tensor.data",
};

/// An image as it came; a clone shares its bytes.
#[derive(Clone, Debug)]
pub enum Image {
    /// A file of any format that `lfbm-images` reads.
    File(Bytes),
    /// Intensities, C H W.
    Tensor(Tensor),
}

impl Image {
    /// Those of the file, or of the tensor's values.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::File(file) => file,
            Self::Tensor(tensor) => &tensor.data,
        }
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.bytes().len()
    }

    /// Its width and height, upright: what its header or shape says.
    ///
    /// # Errors
    /// When it has none, or more than `max_pixels` pixels.
    pub fn dimensions(&self, spec: &ImageSpec, max_pixels: u64) -> Result<Size, Violation> {
        match self {
            Self::File(file) => Ok(header(file, max_pixels)?.size()),
            Self::Tensor(tensor) => {
                let size = tensor::size(tensor, spec.channels, &TENSOR)?;
                tensor::check_pixels(size, max_pixels, TENSOR.shape)
            }
        }
    }

    /// The intensities, C H W values in [0, 1], of the model's size.
    ///
    /// # Errors
    /// When it is broken, has more than `max_pixels` pixels, is smaller than the model's centre crop,
    /// or not in range. Sizes are checked before pixels are decoded, so that a small file cannot claim
    /// much memory.
    pub fn decode(&self, spec: &ImageSpec, max_pixels: u64) -> Result<Vec<f32>, Violation> {
        match self {
            Self::File(file) => {
                header(file, max_pixels)?;
                let (channels, intake) = (spec.channels, spec.intake);
                let bytes = intake.read(file, channels, spec.size(), max_pixels);
                let bytes = bytes.map_err(|error| Violation::new(ENCODED, error.to_string()))?;
                Ok(pixels::from_bytes(&bytes).collect())
            }
            Self::Tensor(tensor) => decode_tensor(tensor, spec, max_pixels),
        }
    }

    /// The most bytes that decoding takes at once, beside the message. 0 where the header or shape is
    /// refused.
    pub fn decode_bytes(&self, spec: &ImageSpec, max_pixels: u64) -> u64 {
        let bytes = || {
            let size = self.dimensions(spec, max_pixels).ok()?;
            let placement = spec.intake.placement(size, spec.size()).ok()?;
            let values = (spec.channels as u64).saturating_mul(size.pixels());
            let (before, resizing) = match self {
                Self::File(file) => {
                    let decoding = header(file, max_pixels).ok()?.peak_bytes;
                    (decoding, placement.resize_bytes::<u8>(spec.channels))
                }
                // Both types take no more than floats do.
                Self::Tensor(_) => (
                    FLOAT_BYTES.saturating_mul(values),
                    placement.resize_bytes::<f32>(spec.channels),
                ),
            };
            let decoded = FLOAT_BYTES * spec.pixels() as u64;
            Some(before.saturating_add(resizing).saturating_add(decoded))
        };
        bytes().unwrap_or(0)
    }
}

/// The intensities of the image that a request must have.
pub(super) fn decode(
    image: Option<&Image>,
    spec: &ImageSpec,
    max_pixels: u64,
) -> Result<Vec<f32>, Violation> {
    let image = image.ok_or_else(|| {
        Violation::new(
            "image",
            "expected an encoded image or a tensor, got neither",
        )
    })?;
    image.decode(spec, max_pixels)
}

fn header(file: &[u8], max_pixels: u64) -> Result<Header, Violation> {
    let header = Header::read(file).map_err(|error| Violation::new(ENCODED, error.to_string()))?;
    tensor::check_pixels(header.size(), max_pixels, ENCODED)?;
    Ok(header)
}

fn unfit(error: IntakeError) -> Violation {
    Violation::new(TENSOR.shape, error.to_string())
}

/// The type of a tensor's values and their place in the model's image.
///
/// # Errors
/// Whatever is wrong with it as an image, before anything is decoded.
pub fn check_tensor(
    tensor: &Tensor,
    spec: &ImageSpec,
    max_pixels: u64,
) -> Result<(DataType, Placement), Violation> {
    let size = tensor::size(tensor, spec.channels, &TENSOR)?;
    let size = tensor::check_pixels(size, max_pixels, TENSOR.shape)?;
    let data_type = tensor::data_type(tensor, spec.channels, size, &TENSOR)?;
    let placement = spec.intake.placement(size, spec.size()).map_err(unfit)?;
    if data_type == DataType::Float32 {
        // NaN is in no range.
        let outside = |value: &f32| !(0.0..=1.0).contains(value);
        let mut intensities = tensor::floats(&tensor.data).enumerate();
        if let Some((index, value)) = intensities.find(|(_, value)| outside(value)) {
            let reason = format!("expected intensities from 0 to 1, got {value} at index {index}");
            return Err(Violation::new(TENSOR.data, reason));
        }
    }
    Ok((data_type, placement))
}

fn decode_tensor(
    tensor: &Tensor,
    spec: &ImageSpec,
    max_pixels: u64,
) -> Result<Vec<f32>, Violation> {
    let (data_type, placement) = check_tensor(tensor, spec, max_pixels)?;
    match data_type {
        DataType::Uint8 => {
            let bytes = placement.resize(&tensor.data).map_err(unfit)?;
            Ok(pixels::from_bytes(&bytes).collect())
        }
        DataType::Float32 => {
            let intensities: Vec<_> = tensor::floats(&tensor.data).collect();
            placement.resize(&intensities).map_err(unfit)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use ::image::{DynamicImage, GrayImage, ImageFormat, RgbImage};
    use lfbm_bundle::manifest::{Contrast, Intake};
    use lfbm_images::Fit;

    const SPEC: ImageSpec = ImageSpec {
        channels: 1,
        height: 2,
        width: 3,
        value_range: [-1.0, 1.0],
        contrast: Contrast::None,
        intake: Intake::STRETCH,
    };
    const MAX_PIXELS: u64 = 1 << 20;

    fn decode(image: Option<&Image>, spec: &ImageSpec) -> Result<Vec<f32>, Violation> {
        super::decode(image, spec, MAX_PIXELS)
    }

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Image {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        Image::File(bytes.into_inner().into())
    }

    fn tensor(data_type: DataType, shape: &[u64], data: Vec<u8>) -> Image {
        Image::Tensor(Tensor {
            data_type: Ok(data_type),
            shape: shape.to_vec(),
            data: data.into(),
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
            (Some(Image::File(Bytes::new())), ENCODED, "no bytes"),
            (
                Some(Image::File(Bytes::from_static(b"GIF89a"))),
                ENCODED,
                "got a GIF",
            ),
            (
                Some(Image::File(png.slice(..png.len() - 20))),
                ENCODED,
                "ends too early",
            ),
            (
                Some(Image::File(png.slice(..20))),
                ENCODED,
                "ends too early",
            ),
            (
                Some(tensor(uint8, &[3, 3, 2], vec![0; 18])),
                TENSOR.shape,
                "expected [1, H, W] (C, H, W), got [3, 3, 2]",
            ),
            (
                Some(tensor(uint8, &[0, 2], Vec::new())),
                TENSOR.shape,
                "got [0, 2]",
            ),
            (
                Some(tensor(uint8, &[1 << 32, 1 << 32], Vec::new())),
                TENSOR.shape,
                "[1, H, W]",
            ),
            (
                Some(tensor(uint8, &[2048, 1024], Vec::new())),
                TENSOR.shape,
                "at most 1048576 pixels (--max-image-pixels), got 1024 x 2048 = 2097152",
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
            violation.description.contains("got 4000 x 4000"),
            "{violation:?}"
        );
        assert_eq!(huge.decode_bytes(&SPEC, MAX_PIXELS), 0);
        // A long side takes memory of its own while it is resized.
        let [square, row] = [(1000, 1000), (1_000_000, 1)].map(|(width, height)| {
            encoded(GrayImage::new(width, height), ImageFormat::Png).decode_bytes(&SPEC, MAX_PIXELS)
        });
        assert!(square >= 24_000_000 && row > square, "{square}, {row}");
    }

    #[test]
    fn files_and_tensors_of_another_size_become_one_of_the_models() {
        let grey = GrayImage::from_fn(300, 20, |x, _| [if x < 150 { 255 } else { 0 }].into());
        let bytes = grey.clone().into_raw();
        let floats: Vec<u8> = bytes
            .iter()
            .flat_map(|&v| (f32::from(v) / 255.0).to_le_bytes())
            .collect();
        for image in [
            encoded(grey, ImageFormat::Png),
            tensor(DataType::Uint8, &[1, 20, 300], bytes),
            tensor(DataType::Float32, &[20, 300], floats),
        ] {
            let stretched = decode(Some(&image), &SPEC).unwrap();
            let expected = [1.0, 0.5, 0.0, 1.0, 0.5, 0.0];
            for (got, expected) in stretched.iter().zip(expected) {
                assert!((got - expected).abs() < 0.005, "{stretched:?}");
            }
            let cut = ImageSpec {
                intake: Intake {
                    crop: 21.try_into().ok(),
                    fit: Fit::Stretch,
                },
                ..SPEC
            };
            let violation = decode(Some(&image), &cut).unwrap_err();
            let part = "at least 21 x 21 pixels, which are cut out of the centre, got 300 x 20";
            assert!(violation.description.contains(part), "{violation:?}");
            assert_eq!(image.decode_bytes(&cut, MAX_PIXELS), 0);
        }
    }
}
