//! Image files as people have them, read the same way by trainer, server and client.
//!
//! What a file is, its content says, never its name: [`Format`] lists what is read. Of several
//! frames or pages the first one is the image; of an animated PNG that is the one which decoders
//! without animation show. Images are turned upright as Exif or TIFF orientation says. Transparent
//! pixels are laid over black, so that colours which nobody sees have no part: alpha scales each
//! colour, as it is stored. Colour profiles and all other metadata are passed over, and do not count
//! for the size. A file that ends too early or is damaged, as far as its format lets one know, is
//! refused: an image with a part missing is another image. Checksums let PNG know of all damage;
//! the codes of JPEG tell of most of it, BMP and TIFF without compression of none.
#![forbid(unsafe_code)]

mod bmp;
mod colour;
mod error;
pub mod folder;
mod format;
mod header;
mod ifd;
mod jpeg;
mod png;
mod read;
mod tiff;
mod webp;

use image::DynamicImage;

pub use colour::planes;
pub use error::ImageError;
pub use format::Format;
pub use header::Header;
pub use read::{MAX_FILE_BYTES, read, read_from};

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
    Ok(image)
}
