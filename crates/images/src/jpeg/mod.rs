//! JPEG: sequential and progressive, 8 bits, Huffman codes.

mod entropy;
mod huffman;
mod segments;

use image::metadata::Orientation;
use jpeg_decoder::{ColorTransform, Decoder, Error};

use crate::colour::{Raw, Samples, from_cmyk};
use crate::header::orientation;
use crate::{Format, Header, ImageError};
use entropy::Checker;
use segments::{Frame, Segment, segments};

const FORMAT: Format = Format::Jpeg;
const ENDS: ImageError = ImageError::EndsTooEarly { format: FORMAT };
/// Beside metadata. Each table costs time, however short it is.
const MAX_SEGMENTS: usize = 4096;

fn damaged(reason: impl ToString) -> ImageError {
    ImageError::damaged(FORMAT, reason)
}

pub(crate) fn header(file: &[u8]) -> Result<Header, ImageError> {
    let (frame, orientation) = frame(file)?;
    Header::new(FORMAT, file, (frame.width, frame.height), orientation)
}

/// The frame header, and the orientation that is said before it.
fn frame(file: &[u8]) -> Result<(Frame, Orientation), ImageError> {
    let mut upright = Orientation::NoTransforms;
    for segment in segments(file) {
        let Segment { marker, data, .. } = segment?;
        match marker {
            segments::APP1 => {
                if let Some(exif) = data.strip_prefix(b"Exif\0\0") {
                    upright = orientation(exif);
                }
            }
            segments::DHP => return Err(ImageError::unsupported(FORMAT, "hierarchical coding")),
            segments::SOS => return Err(damaged("its pixels come before their size")),
            _ if segments::is_frame(marker) => return Ok((Frame::parse(marker, data)?, upright)),
            _ => {}
        }
    }
    Err(damaged("it has no pixels"))
}

pub(crate) fn decode(file: &[u8]) -> Result<Raw, ImageError> {
    let (plain, transform) = check(file)?;
    let mut decoder = Decoder::new(&plain[..]);
    decoder.set_color_transform(transform);
    let pixels = decoder.decode().map_err(|error| match error {
        Error::Format(reason) => damaged(reason),
        Error::Unsupported(feature) => ImageError::unsupported(FORMAT, format!("{feature:?}")),
        error => damaged(error),
    })?;
    let size = decoder.info().map(|info| (info.width, info.height));
    let (width, height) = size.unwrap_or_default();
    let (channels, samples) = match transform {
        ColorTransform::Grayscale => (1, pixels),
        ColorTransform::CMYK | ColorTransform::YCCK => (3, from_cmyk(&pixels)),
        _ => (3, pixels),
    };
    Ok(Raw {
        width: width.into(),
        height: height.into(),
        channels,
        samples: Samples::Bytes(samples),
    })
}

/// Checks a file. Gives it without its metadata, which the decoder would keep, and what its
/// components are.
fn check(file: &[u8]) -> Result<(Vec<u8>, ColorTransform), ImageError> {
    let (frame, _) = frame(file)?;
    let ids: Vec<_> = frame.components.iter().map(|part| part.id).collect();
    let mut checker = Checker::new(frame);
    let mut plain = vec![0xff, 0xd8];
    let (mut is_jfif, mut adobe) = (false, None);
    let (mut count, mut frames) = (0, 0);
    for segment in segments(file) {
        let Segment {
            marker,
            data,
            codes,
        } = segment?;
        let mut data = data.to_vec();
        match marker {
            segments::APP0 => is_jfif |= data.starts_with(b"JFIF\0"),
            segments::APP14 if data.starts_with(b"Adobe") => adobe = data.get(11).copied(),
            segments::DHT => checker.huffman(&data)?,
            segments::DQT => checker.quantization(&data)?,
            segments::DRI => checker.restart(&data)?,
            segments::SOS => checker.scan(&mut data, codes)?,
            _ => frames += usize::from(segments::is_frame(marker)),
        }
        if segments::is_metadata(marker) {
            continue;
        }
        count += 1;
        if count > MAX_SEGMENTS {
            let feature = format!("more than {MAX_SEGMENTS} segments");
            return Err(ImageError::unsupported(FORMAT, feature));
        }
        if frames > 1 {
            return Err(damaged("it has two frame headers"));
        }
        // The decoder holds baseline files to two tables of a class; most others do not.
        let marker = if marker == segments::BASELINE {
            segments::EXTENDED
        } else {
            marker
        };
        plain.extend([0xff, marker]);
        if marker != segments::EOI {
            plain.extend((data.len() as u16 + 2).to_be_bytes());
            plain.extend(data);
            plain.extend(codes);
        }
    }
    checker.end()?;
    // In the order of libjpeg, which most files were tried with.
    let transform = match (&ids[..], adobe) {
        ([_], _) => ColorTransform::Grayscale,
        ([_, _, _, _], Some(2)) => ColorTransform::YCCK,
        ([_, _, _, _], _) => ColorTransform::CMYK,
        _ if is_jfif => ColorTransform::YCbCr,
        (_, Some(0)) => ColorTransform::RGB,
        (b"RGB", None) => ColorTransform::RGB,
        _ => ColorTransform::YCbCr,
    };
    Ok((plain, transform))
}
