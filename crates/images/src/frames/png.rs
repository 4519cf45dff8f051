//! PNG: chunks of length, type, data and checksum, up to IEND (<https://www.w3.org/TR/png-3/#5DataRep>).

use std::io::Read;

use super::FrameError;
use super::source::Source;

pub(super) const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
const CHECKSUM_BYTES: u64 = 4;
const MAX_CHUNK_BYTES: u32 = i32::MAX as u32;

pub(super) fn read<R: Read>(source: &mut Source<R>) -> Result<(), FrameError> {
    source.pass(SIGNATURE.len() as u64)?;
    loop {
        let length = u32::from_be_bytes(source.read()?);
        let name: [u8; 4] = source.read()?;
        if length > MAX_CHUNK_BYTES || !name.iter().all(u8::is_ascii_alphabetic) {
            return Err(source.damaged("expected a chunk of a PNG file"));
        }
        source.pass(u64::from(length) + CHECKSUM_BYTES)?;
        if name == *b"IEND" {
            return Ok(());
        }
    }
}
