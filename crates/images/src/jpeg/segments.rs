//! The segments of a JPEG file, and its frame header.

use super::{ENDS, FORMAT, damaged};
use crate::ImageError;
use crate::header::u16_be;

pub(super) const APP0: u8 = 0xe0;
pub(super) const APP1: u8 = 0xe1;
pub(super) const APP14: u8 = 0xee;
const APP15: u8 = 0xef;
const COM: u8 = 0xfe;
pub(super) const BASELINE: u8 = 0xc0;
pub(super) const EXTENDED: u8 = 0xc1;
const PROGRESSIVE: u8 = 0xc2;
pub(super) const DHT: u8 = 0xc4;
const DNL: u8 = 0xdc;
pub(super) const DQT: u8 = 0xdb;
pub(super) const DHP: u8 = 0xde;
pub(super) const DRI: u8 = 0xdd;
pub(super) const EOI: u8 = 0xd9;
pub(super) const SOS: u8 = 0xda;
const SOI: u8 = 0xd8;
const DAC: u8 = 0xcc;
const JPG: u8 = 0xc8;
pub(super) const RST0: u8 = 0xd0;
pub(super) const RST7: u8 = 0xd7;

/// Whether a marker begins a frame of any kind.
pub(super) fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xc0..=0xcf) && !matches!(marker, DHT | JPG | DAC)
}

/// Whether a decoder can do without a segment.
pub(super) fn is_metadata(marker: u8) -> bool {
    matches!(marker, APP0..=APP15 | COM | DNL)
}

/// A marker with its data.
pub(super) struct Segment<'a> {
    pub marker: u8,
    /// Without the length.
    pub data: &'a [u8],
    /// After the marker that begins a scan: its codes, with restart markers. Else empty.
    pub codes: &'a [u8],
}

/// The segments of a file. They end with EOI; where the file does before it, with an error.
pub(super) fn segments(file: &[u8]) -> impl Iterator<Item = Result<Segment<'_>, ImageError>> {
    let mut rest = file.get(2..);
    std::iter::from_fn(move || {
        let found = next(rest.take()?);
        Some(found.map(|(segment, after)| {
            if segment.marker != EOI {
                rest = Some(after);
            }
            segment
        }))
    })
}

/// The first segment of `bytes`, and what follows it.
fn next(bytes: &[u8]) -> Result<(Segment<'_>, &[u8]), ImageError> {
    // Zeros lie between segments where some cameras leave room.
    let start = bytes.iter().position(|&byte| byte != 0).ok_or(ENDS)?;
    if bytes[start] != 0xff {
        return Err(damaged("bytes lie between its segments"));
    }
    // Any number of 0xff may come before a marker.
    let length = bytes[start..].iter().position(|&byte| byte != 0xff);
    let bytes = &bytes[start + length.ok_or(ENDS)?..];
    let marker = bytes[0];
    match marker {
        EOI => {
            let segment = Segment {
                marker,
                data: &[],
                codes: &[],
            };
            return Ok((segment, &[]));
        }
        0x00..=0xbf | SOI | RST0..=RST7 => {
            return Err(damaged(format!(
                "the marker {marker:#04x} between its segments"
            )));
        }
        _ => {}
    }
    let length = usize::from(u16_be(bytes, 1).ok_or(ENDS)?);
    if length < 2 {
        return Err(damaged("the length of a segment is below 2"));
    }
    let data = bytes.get(3..1 + length).ok_or(ENDS)?;
    let rest = &bytes[1 + length..];
    let (codes, rest) = rest.split_at(if marker == SOS {
        codes_length(rest)?
    } else {
        0
    });
    let segment = Segment {
        marker,
        data,
        codes,
    };
    Ok((segment, rest))
}

/// How many bytes there are before a marker that ends a scan.
fn codes_length(bytes: &[u8]) -> Result<usize, ImageError> {
    let mut position = 0;
    loop {
        let start = bytes[position..].iter().position(|&byte| byte == 0xff);
        position += start.ok_or(ENDS)?;
        match bytes.get(position + 1) {
            None => return Err(ENDS),
            Some(0x00 | RST0..=RST7) => position += 2,
            Some(0xff) => position += 1,
            Some(_) => return Ok(position),
        }
    }
}

/// A component of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Component {
    pub id: u8,
    pub horizontal: usize,
    pub vertical: usize,
    /// Which quantisation table it has.
    pub table: usize,
}

/// A frame header.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub progressive: bool,
    pub width: u32,
    pub height: u32,
    pub components: Vec<Component>,
}

impl Frame {
    /// The highest sampling factors.
    fn most(&self) -> (usize, usize) {
        let parts = self.components.iter();
        let across = parts.clone().map(|part| part.horizontal).max();
        let down = parts.map(|part| part.vertical).max();
        (across.unwrap_or(1), down.unwrap_or(1))
    }

    /// Columns and rows of the units that interleaved scans are made of.
    pub(super) fn units(&self) -> (usize, usize) {
        let (across, down) = self.most();
        let columns = (self.width as usize).div_ceil(8 * across);
        let rows = (self.height as usize).div_ceil(8 * down);
        (columns, rows)
    }

    /// Columns and rows of the blocks of a component that hold a part of the image.
    pub(super) fn blocks(&self, component: &Component) -> (usize, usize) {
        let (across, down) = self.most();
        let side = |side: u32, factor: usize, most: usize| {
            (side as usize * factor).div_ceil(most).div_ceil(8)
        };
        let columns = side(self.width, component.horizontal, across);
        let rows = side(self.height, component.vertical, down);
        (columns, rows)
    }

    /// # Errors
    /// When the frame is damaged, or of a kind that is not read.
    pub(super) fn parse(marker: u8, data: &[u8]) -> Result<Self, ImageError> {
        let unsupported = |feature: &str| Err(ImageError::unsupported(FORMAT, feature));
        match marker {
            BASELINE..=PROGRESSIVE => {}
            0xc3 => return unsupported("lossless coding"),
            0xc9..=0xcf => return unsupported("arithmetic coding"),
            _ => return unsupported("hierarchical coding"),
        }
        let (precision, count) = match (data.first(), data.get(5)) {
            (Some(&precision), Some(&count)) => (precision, usize::from(count)),
            _ => return Err(damaged("its frame header is too short")),
        };
        let (Some(height), Some(width)) = (u16_be(data, 1), u16_be(data, 3)) else {
            return Err(damaged("its frame header is too short"));
        };
        if precision != 8 {
            return unsupported(&format!("samples of {precision} bits"));
        }
        if height == 0 {
            return unsupported("a height that comes after the pixels (DNL)");
        }
        if !matches!(count, 1 | 3 | 4) {
            return unsupported(&format!("{count} components"));
        }
        if data.len() != 6 + 3 * count {
            return Err(damaged("its frame header has a wrong length"));
        }
        let components: Vec<_> = data[6..]
            .chunks_exact(3)
            .map(|component| Component {
                id: component[0],
                horizontal: usize::from(component[1] >> 4),
                vertical: usize::from(component[1] & 15),
                table: usize::from(component[2]),
            })
            .collect();
        let fits = |factor: usize| (1..=4).contains(&factor);
        if !components
            .iter()
            .all(|component| fits(component.horizontal) && fits(component.vertical))
        {
            return Err(damaged("a sampling factor is not from 1 to 4"));
        }
        Ok(Self {
            progressive: marker == PROGRESSIVE,
            width: width.into(),
            height: height.into(),
            components,
        })
    }
}
