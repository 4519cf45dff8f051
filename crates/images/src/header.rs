use image::metadata::Orientation;

use crate::error::ImageError;
use crate::format::Format;
use crate::ifd::{self, Directory};
use crate::size::Size;

/// What a file says of its image before the pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// By its first bytes.
    pub format: Format,
    /// Columns, upright.
    pub width: u32,
    /// Rows, upright.
    pub height: u32,
    /// The most bytes that decoding takes at once beside those of the file, what it gives included.
    pub peak_bytes: u64,
    pub(crate) orientation: Orientation,
}

/// Tables and windows of the decoders.
const FIXED_BYTES: u64 = 512 << 10;
/// What no decoder exceeds for a pixel: its samples as the file has them, with coefficients where it
/// has such, decoded, and once more turned upright.
const PIXEL_BYTES: u64 = 24;
/// Decoders round sizes up to whole blocks.
const BLOCK: u64 = 64;

impl Header {
    /// The most bytes that decoding takes for a pixel of a TIFF file's tile, which is not turned upright.
    pub(crate) const TILE_PIXEL_BYTES: u64 = 16;

    /// `size` is width and height as the file stores them.
    pub(crate) fn new(
        format: Format,
        file: &[u8],
        size: (u32, u32),
        orientation: Orientation,
    ) -> Result<Self, ImageError> {
        if size.0 == 0 || size.1 == 0 {
            return Err(ImageError::damaged(format, "it has no pixels"));
        }
        let swaps = orientation.to_exif() >= 5;
        let (width, height) = if swaps { (size.1, size.0) } else { size };
        let padded = |side: u32| u64::from(side).next_multiple_of(BLOCK);
        Ok(Self {
            format,
            width,
            height,
            // Once more for the file without its metadata. A header may claim any size.
            peak_bytes: padded(width)
                .saturating_mul(padded(height))
                .saturating_mul(PIXEL_BYTES)
                .saturating_add(FIXED_BYTES + file.len() as u64),
            orientation,
        })
    }

    /// Width and height, upright.
    pub fn size(&self) -> Size {
        Size {
            width: self.width,
            height: self.height,
        }
    }

    /// How many pixels there are.
    pub fn pixels(&self) -> u64 {
        self.size().pixels()
    }
}

/// The orientation that Exif data give; upright when they give none.
pub(crate) fn orientation(exif: &[u8]) -> Orientation {
    Directory::first(exif)
        .and_then(|directory| directory.value(ifd::ORIENTATION))
        .and_then(|value| Orientation::from_exif(u8::try_from(value).ok()?))
        .unwrap_or(Orientation::NoTransforms)
}

/// Four bytes, the first one the highest.
pub(crate) fn u32_be(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Four bytes, the first one the lowest.
pub(crate) fn u32_le(bytes: &[u8], offset: usize) -> Option<u32> {
    u32_be(bytes, offset).map(u32::swap_bytes)
}

/// Two bytes, the first one the highest.
pub(crate) fn u16_be(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..offset.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// Two bytes, the first one the lowest.
pub(crate) fn u16_le(bytes: &[u8], offset: usize) -> Option<u16> {
    u16_be(bytes, offset).map(u16::swap_bytes)
}
