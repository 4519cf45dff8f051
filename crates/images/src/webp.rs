//! WebP.

use std::io::Cursor;

use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder};

use crate::colour::{Raw, Samples};
use crate::header::{orientation, u16_le, u32_le};
use crate::{Format, Header, ImageError};

const FORMAT: Format = Format::WebP;
const ENDS: ImageError = ImageError::EndsTooEarly { format: FORMAT };
/// RIFF, the length of what follows, WEBP.
const RIFF_BYTES: usize = 12;

/// A table of 4 KiB is described by some fifteen bytes; sixteen pixels have five at most.
const TABLES_PER_BYTE: u64 = 300;
const TABLES_PER_PIXEL: u64 = 1300;

/// Name and data.
type Chunk<'a> = ([u8; 4], &'a [u8]);

/// The chunks of a file.
fn chunks(file: &[u8]) -> impl Iterator<Item = Result<Chunk<'_>, ImageError>> {
    chunks_of(file.get(RIFF_BYTES..).unwrap_or_default())
}

/// Chunks one after another.
fn chunks_of(mut rest: &[u8]) -> impl Iterator<Item = Result<Chunk<'_>, ImageError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let chunk = || {
            let name = rest.get(..4)?.try_into().ok()?;
            let length = u32_le(rest, 4)? as usize;
            let data = rest.get(8..8_usize.checked_add(length)?)?;
            Some((name, data))
        };
        let Some((name, data)) = chunk() else {
            rest = &[];
            return Some(Err(ENDS));
        };
        // Data of an odd length are padded; after the last the padding may be left out.
        let length = 8 + data.len().next_multiple_of(2);
        rest = rest.get(length..).unwrap_or_default();
        Some(Ok((name, data)))
    })
}

/// The size that a lossy or a lossless image has by itself.
fn stream_size(name: &[u8], data: &[u8]) -> Option<(u32, u32)> {
    if name == b"VP8 " {
        let side = |offset| Some(u32::from(u16_le(data, offset)? & 0x3fff));
        return side(6).zip(side(8));
    }
    let sides = u32_le(data, 1)?;
    Some(((sides & 0x3fff) + 1, ((sides >> 14) & 0x3fff) + 1))
}

pub(crate) fn header(file: &[u8]) -> Result<Header, ImageError> {
    // The first chunk is the image's, or says what others there are; it need not be there whole.
    let first = file.get(RIFF_BYTES..).unwrap_or_default();
    let size = match first.get(..4) {
        Some(b"VP8X") => {
            let side = |offset| Some((u32_le(first, offset)? & 0xff_ffff) + 1);
            // The second one is the last of the chunk.
            side(12).zip(u32_le(first, 14).map(|sides| (sides >> 8) + 1))
        }
        Some(name @ (b"VP8 " | b"VP8L")) => stream_size(name, first.get(8..).unwrap_or_default()),
        Some(_) => {
            return Err(ImageError::damaged(
                FORMAT,
                "it does not begin with an image",
            ));
        }
        None => None,
    };
    let exif = chunks(file)
        .map_while(Result::ok)
        .find(|(name, _)| name == b"EXIF");
    let upright = exif.map_or(Orientation::NoTransforms, |(_, data)| {
        // Some writers keep the prefix that JPEG has.
        orientation(data.strip_prefix(b"Exif\0\0").unwrap_or(data))
    });
    let mut header = Header::new(FORMAT, file, size.ok_or(ENDS)?, upright)?;
    // Of images without loss, and of alpha: tables of codes, of which each block may have its own.
    let tables = (TABLES_PER_BYTE * file.len() as u64).min(TABLES_PER_PIXEL * header.pixels());
    header.peak_bytes += tables;
    Ok(header)
}

/// Of VP8X: what else there is, and the size.
const EXTENDED_BYTES: usize = 10;
const HAS_ALPHA: u8 = 1 << 4;
const IS_ANIMATED: u8 = 1 << 1;
/// Of ANMF, before the chunks of the frame.
const FRAME_BYTES: usize = 16;

/// The file without metadata, with one frame.
fn plain(file: &[u8], header: &Header) -> Result<Vec<u8>, ImageError> {
    let damaged = |reason: &str| ImageError::damaged(FORMAT, reason);
    let length = u32_le(file, 4).ok_or(ENDS)? as usize;
    // Of an odd length, the last byte may be left out.
    if file.len() + 1 < length.saturating_add(8) {
        return Err(ENDS);
    }
    let file = &file[..file.len().min(length.saturating_add(8))];
    let Some(head) = file.get(..RIFF_BYTES) else {
        return Err(damaged("its length is too short"));
    };
    let all = chunks(file).collect::<Result<Vec<_>, _>>()?;
    // A decoder takes memory by what the stream itself says.
    let fits = |name: &[u8], data: &[u8]| {
        let is_stream = matches!(name, b"VP8 " | b"VP8L");
        !is_stream
            || stream_size(name, data).is_some_and(|(width, height)| {
                u64::from(width) * u64::from(height) <= header.pixels()
            })
    };
    let has = |wanted: &[u8; 4]| all.iter().any(|(name, _)| name == wanted);
    let mut plain = head.to_vec();
    let mut seen = Vec::new();
    for (name, data) in &all {
        let mut data = data.to_vec();
        match name {
            b"VP8X" if data.len() >= EXTENDED_BYTES => {
                data[0] &= HAS_ALPHA | IS_ANIMATED;
                if has(b"VP8 ") && !has(b"ALPH") {
                    data[0] &= !HAS_ALPHA;
                }
            }
            b"VP8 " | b"VP8L" | b"ALPH" | b"ANIM" => {}
            b"ANMF" if data.len() >= FRAME_BYTES => {
                let rest = &data[FRAME_BYTES..];
                if !chunks_of(rest).all(|chunk| chunk.is_ok_and(|(name, data)| fits(&name, data))) {
                    return Err(damaged("a frame is cut, or larger than the image"));
                }
            }
            _ => continue,
        }
        if !fits(name, &data) {
            return Err(damaged("its pixels have another size than it says"));
        }
        // Of what is there twice, the first one is the image.
        if seen.contains(name) {
            continue;
        }
        seen.push(*name);
        plain.extend(name);
        plain.extend((data.len() as u32).to_le_bytes());
        plain.extend(&data);
        plain.extend(&[0][..data.len() % 2]);
    }
    let length = (plain.len() - 8) as u32;
    plain[4..8].copy_from_slice(&length.to_le_bytes());
    Ok(plain)
}

pub(crate) fn decode(file: &[u8], header: &Header) -> Result<Raw, ImageError> {
    let failed = |error: image::ImageError| ImageError::damaged(FORMAT, error);
    let plain = plain(file, header)?;
    let decoder = WebPDecoder::new(Cursor::new(plain)).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let channels = if decoder.color_type() == ColorType::Rgba8 {
        4
    } else {
        3
    };
    let length = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
    let mut samples = vec![0; length];
    decoder.read_image(&mut samples).map_err(failed)?;
    Ok(Raw {
        width,
        height,
        channels,
        samples: Samples::Bytes(samples),
    })
}
