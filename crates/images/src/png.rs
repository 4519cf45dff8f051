//! PNG. Text, colour profiles and all else beside the pixels is passed over, not unpacked.

use std::io::Cursor;

use ::png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Transformations};
use image::metadata::Orientation;

use crate::colour::{Raw, Samples};
use crate::header::{orientation, u32_be};
use crate::{Format, Header, ImageError};

const SIGNATURE_BYTES: usize = 8;
/// Length, name and checksum.
const CHUNK_BYTES: usize = 12;
const FORMAT: Format = Format::Png;
const ENDS: ImageError = ImageError::EndsTooEarly { format: FORMAT };

struct Chunk<'a> {
    name: [u8; 4],
    data: &'a [u8],
    /// With length, name and checksum.
    whole: &'a [u8],
}

/// The chunks of a file up to IEND; an error where the file ends before it.
fn chunks(file: &[u8]) -> impl Iterator<Item = Result<Chunk<'_>, ImageError>> {
    let mut rest = file.get(SIGNATURE_BYTES..);
    std::iter::from_fn(move || {
        let bytes = rest.take()?;
        let chunk = || {
            let length = CHUNK_BYTES.checked_add(u32_be(bytes, 0)? as usize)?;
            let whole = bytes.get(..length)?;
            Some(Chunk {
                name: whole[4..8].try_into().ok()?,
                data: &whole[8..length - 4],
                whole,
            })
        };
        let Some(chunk) = chunk() else {
            return Some(Err(ENDS));
        };
        if &chunk.name != b"IEND" {
            rest = bytes.get(chunk.whole.len()..);
        }
        Some(Ok(chunk))
    })
}

pub(crate) fn header(file: &[u8]) -> Result<Header, ImageError> {
    let mut size = None;
    let mut upright = Orientation::NoTransforms;
    for chunk in chunks(file) {
        match chunk {
            Ok(chunk) if &chunk.name == b"IHDR" && size.is_none() => {
                size = u32_be(chunk.data, 0).zip(u32_be(chunk.data, 4));
            }
            Ok(chunk) if &chunk.name == b"eXIf" => upright = orientation(chunk.data),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Header::new(FORMAT, file, size.ok_or(ENDS)?, upright)
}

/// Whether a chunk has a part in the pixels. The names of those that a decoder may pass over begin
/// with a small letter, which is a bit; transparency is one of them.
fn is_needed(name: [u8; 4]) -> bool {
    name[0] & 0x20 == 0 || &name == b"tRNS"
}

pub(crate) fn decode(file: &[u8], header: &Header) -> Result<Raw, ImageError> {
    let mut plain = file[..SIGNATURE_BYTES].to_vec();
    for chunk in chunks(file) {
        let chunk = chunk?;
        if is_needed(chunk.name) {
            plain.extend(chunk.whole);
        }
    }
    let limits = Limits {
        bytes: usize::try_from(header.peak_bytes).unwrap_or(usize::MAX),
    };
    let mut decoder = Decoder::new_with_limits(Cursor::new(plain), limits);
    // Palettes and few bits become 8 bits, a transparent colour becomes alpha.
    decoder.set_transformations(Transformations::EXPAND);
    decoder.ignore_checksums(false);
    let mut reader = decoder.read_info().map_err(failed)?;
    let (width, height) = reader.info().size();
    let too_large = || damaged("it is too large");
    let mut bytes = vec![0; reader.output_buffer_size().ok_or_else(too_large)?];
    reader.next_frame(&mut bytes).map_err(failed)?;
    let (colour, depth) = reader.output_color_type();
    let channels = match colour {
        ColorType::Grayscale => 1,
        ColorType::GrayscaleAlpha => 2,
        ColorType::Rgb => 3,
        ColorType::Rgba => 4,
        ColorType::Indexed => return Err(damaged("its palette is missing")),
    };
    let samples = if depth == BitDepth::Sixteen {
        let words = bytes.as_chunks::<2>().0.iter();
        Samples::Words(words.map(|&word| u16::from_be_bytes(word)).collect())
    } else {
        Samples::Bytes(bytes)
    };
    Ok(Raw {
        width,
        height,
        channels,
        samples,
    })
}

fn damaged(reason: impl ToString) -> ImageError {
    ImageError::damaged(FORMAT, reason)
}

fn failed(error: DecodingError) -> ImageError {
    match error {
        DecodingError::IoError(_) => ENDS,
        // The library's words show types of its own.
        DecodingError::Format(error) if error.to_string().contains("CRC") => {
            damaged("a checksum is not that of its bytes")
        }
        error => damaged(error),
    }
}
