//! JPEG: markers and their segments, up to EOI (ITU-T T.81, annex B).

use std::io::Read;

use super::FrameError;
use super::source::Source;

/// SOI, and the byte that begins the next marker.
pub(super) const START: [u8; 3] = [PREFIX, SOI, PREFIX];
const PREFIX: u8 = 0xff;
const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const TEM: u8 = 0x01;
const FIRST_RST: u8 = 0xd0;
const LAST_RST: u8 = 0xd7;
/// After a prefix, says that the prefix is a byte of compressed data.
const STUFFED: u8 = 0;

pub(super) fn read<R: Read>(source: &mut Source<R>) -> Result<(), FrameError> {
    source.pass(2)?;
    let mut marker = next_marker(source)?;
    loop {
        match marker {
            EOI => return Ok(()),
            SOI => return Err(source.damaged("another image begins before its end")),
            STUFFED => return Err(source.damaged("expected a marker of a JPEG file")),
            TEM | FIRST_RST..=LAST_RST => marker = next_marker(source)?,
            _ => {
                let length = u16::from_be_bytes(source.read()?);
                let Some(rest) = length.checked_sub(2) else {
                    return Err(source.damaged("expected a segment of at least 2 bytes"));
                };
                source.pass(rest.into())?;
                marker = if marker == SOS {
                    marker_after_data(source)?
                } else {
                    next_marker(source)?
                };
            }
        }
    }
}

fn next_marker<R: Read>(source: &mut Source<R>) -> Result<u8, FrameError> {
    let [prefix] = source.read()?;
    if prefix != PREFIX {
        return Err(source.damaged("expected a marker of a JPEG file"));
    }
    code(source)
}

/// The code of a marker; any number of prefixes may come before it.
fn code<R: Read>(source: &mut Source<R>) -> Result<u8, FrameError> {
    loop {
        let [code] = source.read()?;
        if code != PREFIX {
            return Ok(code);
        }
    }
}

fn marker_after_data<R: Read>(source: &mut Source<R>) -> Result<u8, FrameError> {
    loop {
        source.pass_until(PREFIX)?;
        match code(source)? {
            STUFFED | FIRST_RST..=LAST_RST => {}
            marker => return Ok(marker),
        }
    }
}
