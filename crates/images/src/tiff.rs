//! TIFF: its first page.

use std::io::{Cursor, Read};

use ::tiff::decoder::{ChunkType, Decoder, DecodingResult, Limits};
use ::tiff::tags::Tag;
use ::tiff::{ColorType, TiffError};
use flate2::read::ZlibDecoder;

use crate::colour::{Raw, Samples, from_cmyk};
use crate::header::orientation;
use crate::ifd::{self, Directory};
use crate::{Format, Header, ImageError};

const FORMAT: Format = Format::Tiff;
const ENDS: ImageError = ImageError::EndsTooEarly { format: FORMAT };
/// Of a tile of an image that is smaller; most are of 256 x 256.
const MAX_TILE_PIXELS: u64 = 1 << 20;
/// Of the tag PhotometricInterpretation.
const BLACK_IS_ZERO: u16 = 1;
const PALETTE: u64 = 3;
/// Of the tag FillOrder.
const LOWEST_BIT_FIRST: u64 = 2;
/// Of the tag ExtraSamples.
const UNASSOCIATED_ALPHA: u16 = 2;
/// Of the tag Compression: Deflate, by its present and its former number.
const DEFLATE: [u16; 2] = [8, 32_946];
const NONE: u16 = 1;
/// Of the tag PlanarConfiguration: the samples of a pixel lie together.
const CHUNKY: u16 = 1;

type Tiff<'a> = Decoder<Cursor<&'a [u8]>>;

pub(crate) fn header(file: &[u8]) -> Result<Header, ImageError> {
    let directory = Directory::first(file).ok_or(ENDS)?;
    let side = |tag: u16| {
        let value = directory.value(tag)?;
        Some(u32::try_from(value).unwrap_or(u32::MAX))
    };
    let missing = || ImageError::damaged(FORMAT, "its first page has no size");
    let width = side(ifd::WIDTH).ok_or_else(missing)?;
    let height = side(ifd::HEIGHT).ok_or_else(missing)?;
    let mut header = Header::new(FORMAT, file, (width, height), orientation(file))?;
    // A tile is decoded whole, and may be larger than the image.
    let tile = side(ifd::TILE_WIDTH).zip(side(ifd::TILE_HEIGHT));
    let (tile_width, tile_height) = tile.unwrap_or((0, 0));
    let pixels = u64::from(tile_width) * u64::from(tile_height);
    if pixels > MAX_TILE_PIXELS.max(header.pixels().saturating_mul(2)) {
        let feature = format!("tiles of {tile_width} x {tile_height} pixels");
        return Err(unsupported(feature));
    }
    let tile_bytes = Header::TILE_PIXEL_BYTES.saturating_mul(pixels);
    header.peak_bytes = header.peak_bytes.saturating_add(tile_bytes);
    Ok(header)
}

/// What a file holds that is not read.
fn described(colour: ColorType) -> String {
    match colour {
        ColorType::Multiband { num_samples, .. } => format!("{num_samples} samples a pixel"),
        ColorType::YCbCr(_) => "colours in YCbCr".to_owned(),
        ColorType::Lab(_) => "colours in Lab".to_owned(),
        other => format!("samples of {} bits", other.bit_depth()),
    }
}

pub(crate) fn decode(file: &[u8], header: &Header) -> Result<Raw, ImageError> {
    // The decoder reads palettes as greys, when told that they are.
    let directory = Directory::first(file).ok_or(ENDS)?;
    if !directory.is_whole() {
        return Err(ENDS);
    }
    if directory.value(ifd::FILL_ORDER) == Some(LOWEST_BIT_FIRST) {
        return Err(unsupported("pixels from the lowest bit of a byte on"));
    }
    let is_palette = directory.value(ifd::PHOTOMETRIC) == Some(PALETTE);
    let greys = is_palette
        .then(|| directory.with_value(ifd::PHOTOMETRIC, BLACK_IS_ZERO))
        .flatten();
    let file = greys.as_deref().unwrap_or(file);

    let mut decoder = Decoder::new(Cursor::new(file)).map_err(failed)?;
    let colour = decoder.colortype().map_err(failed)?;
    let (channels, depth) = match colour {
        ColorType::Gray(depth @ (1 | 2 | 4 | 8)) => (1, depth),
        ColorType::Gray(16) if !is_palette => (1, 16),
        ColorType::Multiband {
            bit_depth: depth @ (8 | 16),
            num_samples: 2,
        } => (2, depth),
        ColorType::RGB(depth @ (8 | 16)) => (3, depth),
        ColorType::RGBA(depth @ (8 | 16)) => (4, depth),
        ColorType::CMYK(8) => (4, 8),
        _ => {
            return Err(unsupported(described(colour)));
        }
    };
    check_chunks(file, &mut decoder, depth, header.peak_bytes)?;
    let bytes = usize::try_from(header.peak_bytes).unwrap_or(usize::MAX);
    let mut limits = Limits::default();
    limits.decoding_buffer_size = bytes;
    limits.intermediate_buffer_size = bytes;
    let mut decoder = decoder.with_limits(limits);
    let (width, height) = decoder.dimensions().map_err(failed)?;
    let mut result = DecodingResult::U8(Vec::new());
    let layout = decoder.read_image_to_buffer(&mut result).map_err(failed)?;
    let stride = layout.plane_stride.map(usize::from);
    let samples = match result {
        DecodingResult::U8(bytes) if depth < 8 => {
            Samples::Bytes(unpack(&bytes, width as usize, depth))
        }
        DecodingResult::U8(bytes) => Samples::Bytes(interleave(bytes, stride)),
        DecodingResult::U16(words) => {
            Samples::Words(interleave(words, stride.map(|bytes| bytes / 2)))
        }
        _ => {
            let feature = "samples that are not whole numbers from 0";
            return Err(unsupported(feature));
        }
    };
    let (channels, samples) = match (colour, samples) {
        (ColorType::CMYK(_), Samples::Bytes(inks)) => (3, Samples::Bytes(from_cmyk(&inks))),
        (_, Samples::Bytes(indices)) if is_palette => {
            let colours = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(failed)?;
            (3, Samples::Bytes(from_palette(&indices, &colours)))
        }
        (_, Samples::Bytes(greys)) if depth < 8 => {
            let factor = u8::MAX / ((1 << depth) - 1);
            let greys = greys.into_iter().map(|grey| grey * factor).collect();
            (1, Samples::Bytes(greys))
        }
        (_, samples) => (channels, samples),
    };
    let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples);
    let extra = extra.map_err(failed)?.unwrap_or_default();
    let raw = Raw {
        width,
        height,
        channels,
        samples,
    };
    // Colours may be multiplied by their alpha already, and what is not said to be alpha is none:
    // either way the colours stay as they are.
    let has_alpha = extra.first() == Some(&UNASSOCIATED_ALPHA);
    Ok(if has_alpha { raw } else { raw.without_alpha() })
}

/// Looks for what the decoder passes over: strips or tiles that lie beyond the end of the file or are
/// shorter than their pixels, and checksums that do not fit. `most` bounds what they may unpack to.
fn check_chunks(
    file: &[u8],
    decoder: &mut Tiff<'_>,
    depth: u8,
    most: u64,
) -> Result<(), ImageError> {
    let is_tiled = decoder.get_chunk_type() == ChunkType::Tile;
    let (offsets, lengths) = if is_tiled {
        (Tag::TileOffsets, Tag::TileByteCounts)
    } else {
        (Tag::StripOffsets, Tag::StripByteCounts)
    };
    let offsets = decoder.get_tag_u64_vec(offsets).map_err(failed)?;
    let lengths = decoder.get_tag_u64_vec(lengths).map_err(failed)?;
    let mut number = |tag, default: u16| {
        let value = decoder.find_tag_unsigned::<u16>(tag).map_err(failed)?;
        Ok::<_, ImageError>(value.unwrap_or(default))
    };
    let compression = number(Tag::Compression, NONE)?;
    let samples = match number(Tag::PlanarConfiguration, CHUNKY)? {
        CHUNKY => number(Tag::SamplesPerPixel, 1)?,
        _ => 1,
    };
    let (_, height) = decoder.dimensions().map_err(failed)?;
    let (width, rows) = decoder.chunk_dimensions();
    let row_bits = u64::from(width) * u64::from(samples) * u64::from(depth);
    let (mut packed, mut unpacked) = (0, 0);
    for (index, (offset, length)) in (0..).zip(offsets.into_iter().zip(lengths)) {
        let range = || {
            let start = usize::try_from(offset).ok()?;
            let end = start.checked_add(usize::try_from(length).ok()?)?;
            file.get(start..end)
        };
        let chunk = range().ok_or(ENDS)?;
        packed += chunk.len();
        // Some writers share a strip that is empty.
        if packed > 4 * file.len() {
            return Err(damaged("its strips overlap"));
        }
        // The last strip has the rows that are left; tiles are whole.
        let before = index % height.div_ceil(rows) * rows;
        let rows = if is_tiled {
            rows
        } else {
            rows.min(height - before)
        };
        let needed = row_bits.div_ceil(8) * u64::from(rows);
        if compression == NONE && length < needed {
            return Err(damaged("a strip is shorter than its pixels"));
        }
        if DEFLATE.contains(&compression) {
            let mut bytes = ZlibDecoder::new(chunk).take(most.saturating_sub(unpacked));
            unpacked += std::io::copy(&mut bytes, &mut std::io::sink())
                .map_err(|error| damaged(format!("a strip cannot be unpacked ({error})")))?;
            if unpacked >= most {
                return Err(damaged("it has more samples than pixels"));
            }
        }
    }
    Ok(())
}

/// Values of fewer bits than eight; rows begin with a byte.
fn unpack(bytes: &[u8], width: usize, depth: u8) -> Vec<u8> {
    let per_byte = usize::from(8 / depth);
    let values = |row: &[u8]| -> Vec<u8> {
        let value = |index: usize| {
            let shift = 8 - depth as usize * (index % per_byte + 1);
            (row[index / per_byte] >> shift) & ((1 << depth) - 1)
        };
        (0..width).map(value).collect()
    };
    let rows = bytes.chunks_exact(width.div_ceil(per_byte));
    rows.flat_map(values).collect()
}

/// Samples of a pixel after another, where they are stored in planes.
fn interleave<T: Copy>(samples: Vec<T>, plane: Option<usize>) -> Vec<T> {
    let Some(plane) = plane.filter(|&plane| plane > 0 && plane < samples.len()) else {
        return samples;
    };
    let pixels = 0..plane;
    pixels
        .flat_map(|pixel| samples[pixel..].iter().step_by(plane).copied())
        .collect()
}

/// RGB of indices; the palette has all reds first. Its words hold a byte each, most in their upper
/// half, and of some writers in the lower one.
fn from_palette(indices: &[u8], colours: &[u16]) -> Vec<u8> {
    let is_low = colours.iter().all(|&colour| colour <= 0xff);
    let shift = if is_low { 0 } else { 8 };
    let count = colours.len() / 3;
    let colour = |index: &u8| {
        let index = usize::from(*index);
        [0, 1, 2].map(|channel| {
            let colour = colours.get(channel * count + index).unwrap_or(&0);
            (colour >> shift) as u8
        })
    };
    indices.iter().flat_map(colour).collect()
}

fn damaged(reason: impl ToString) -> ImageError {
    ImageError::damaged(FORMAT, reason)
}

fn unsupported(feature: impl Into<String>) -> ImageError {
    ImageError::unsupported(FORMAT, feature)
}

fn failed(error: TiffError) -> ImageError {
    match error {
        TiffError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => ENDS,
        TiffError::UnsupportedError(error) => unsupported(error.to_string()),
        error => damaged(error),
    }
}
