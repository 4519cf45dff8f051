//! BMP.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder};

use crate::colour::{Raw, Samples};
use crate::header::{u16_le, u32_le};
use crate::{Format, Header, ImageError};

const FORMAT: Format = Format::Bmp;
const ENDS: ImageError = ImageError::EndsTooEarly { format: FORMAT };
/// Of the header that has sizes of two bytes.
const CORE_HEADER_BYTES: u32 = 12;

pub(crate) fn header(file: &[u8]) -> Result<Header, ImageError> {
    let size = || {
        if u32_le(file, 14)? == CORE_HEADER_BYTES {
            return Some((u16_le(file, 18)?.into(), u16_le(file, 20)?.into()));
        }
        // A negative height means that the first row is the top one.
        let height = u32_le(file, 22)?.cast_signed().unsigned_abs();
        Some((u32_le(file, 18)?, height))
    };
    let size = size().ok_or(ENDS)?;
    Header::new(FORMAT, file, size, Orientation::NoTransforms)
}

/// Where pixels end that are packed: the decoder is content with those that it has.
fn packed_end(file: &[u8]) -> Option<u64> {
    let is_packed = u32_le(file, 14)? > CORE_HEADER_BYTES && matches!(u32_le(file, 30)?, 1 | 2);
    let (start, length) = (u32_le(file, 10)?, u32_le(file, 34)?);
    is_packed.then_some(u64::from(start) + u64::from(length))
}

pub(crate) fn decode(file: &[u8]) -> Result<Raw, ImageError> {
    if packed_end(file).is_some_and(|end| end > file.len() as u64) {
        return Err(ENDS);
    }
    let decoder = BmpDecoder::new(Cursor::new(file)).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let channels = match decoder.color_type() {
        ColorType::L8 => 1,
        ColorType::Rgb8 => 3,
        ColorType::Rgba8 => 4,
        colour => {
            let feature = format!("pixels of the kind {colour:?}");
            return Err(ImageError::unsupported(FORMAT, feature));
        }
    };
    let length = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
    let mut samples = vec![0; length];
    decoder.read_image(&mut samples).map_err(failed)?;
    // Where all pixels are transparent, the writer left the byte for it unused.
    if channels == 4 && samples.iter().skip(3).step_by(4).all(|&alpha| alpha == 0) {
        samples
            .iter_mut()
            .skip(3)
            .step_by(4)
            .for_each(|alpha| *alpha = u8::MAX);
    }
    Ok(Raw {
        width,
        height,
        channels,
        samples: Samples::Bytes(samples),
    })
}

fn failed(error: image::ImageError) -> ImageError {
    use image::ImageError as Error;
    match error {
        Error::IoError(_) => ENDS,
        Error::Unsupported(error) => ImageError::unsupported(FORMAT, error.to_string()),
        error => ImageError::damaged(FORMAT, error),
    }
}
