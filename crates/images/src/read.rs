//! A file of any format.

use image::DynamicImage;

use crate::error::ImageError;
use crate::format::Format;
use crate::header::Header;
use crate::{bmp, jpeg, png, tiff, webp};

impl Header {
    /// The header of a file, whatever it is named. Reads a few bytes of it and no pixel, so that a
    /// file which is cut or damaged further on may have one.
    ///
    /// # Errors
    /// When the file is of no format that is read, or ends within its header.
    pub fn read(file: &[u8]) -> Result<Self, ImageError> {
        match Format::sniff(file)? {
            Format::Png => png::header(file),
            Format::Jpeg => jpeg::header(file),
            Format::Bmp => bmp::header(file),
            Format::Tiff => tiff::header(file),
            Format::WebP => webp::header(file),
        }
    }
}

/// The image in a file: upright and opaque; grey or RGB, of 8 or 16 bits.
///
/// # Errors
/// When it is no image that is read, is cut or damaged, or has more than `max_pixels` pixels by its
/// header, which is looked at before anything is decoded.
pub fn decode(file: &[u8], max_pixels: u64) -> Result<DynamicImage, ImageError> {
    let header = Header::read(file)?;
    if header.pixels() > max_pixels {
        return Err(ImageError::TooManyPixels {
            width: header.width,
            height: header.height,
            limit: max_pixels,
        });
    }
    let raw = match header.format {
        Format::Png => png::decode(file, &header),
        Format::Jpeg => jpeg::decode(file),
        Format::Bmp => bmp::decode(file),
        Format::Tiff => tiff::decode(file, &header),
        Format::WebP => webp::decode(file, &header),
    }?;
    let mut image = raw.into_image().ok_or_else(|| {
        ImageError::damaged(header.format, "it has more or fewer samples than pixels")
    })?;
    image.apply_orientation(header.orientation);
    // A TIFF file may give its size twice.
    if (image.width(), image.height()) != (header.width, header.height) {
        let reason = "its pixels have another size than it says";
        return Err(ImageError::damaged(header.format, reason));
    }
    Ok(image)
}
