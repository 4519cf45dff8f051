//! Images that follow one another in a stream, as `ffmpeg -f image2pipe` and `-f mjpeg` write them.
//!
//! Where an image ends, its own structure says: the chunks of PNG, the markers of JPEG. So a thumbnail inside
//! a JPEG file ends nothing, and an image is there as soon as its last byte is.

mod jpeg;
mod png;
mod source;

use std::io::{self, Read};

use self::source::Source;
use crate::Format;

/// Why a stream has no further image.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// It cannot be read.
    #[error("the input cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Something else begins where an image should.
    #[error(
        "expected a PNG or JPEG image at byte {offset} of the input, got {found}; with ffmpeg, end the command with \
         -f image2pipe -c:v mjpeg -"
    )]
    NotAFrame {
        /// Bytes of the stream before it.
        offset: u64,
        /// What it looks like.
        found: String,
    },
    /// The stream ends within an image.
    #[error("the input ends within this {format} image, {bytes} bytes after its beginning")]
    EndsTooEarly {
        /// By its first bytes.
        format: Format,
        /// How many bytes of it came.
        bytes: u64,
    },
    /// An image has more bytes than it may.
    #[error("expected a {format} image of at most {limit} bytes, got more")]
    TooLarge {
        /// By its first bytes.
        format: Format,
        /// How many there may be.
        limit: u64,
    },
    /// The end of an image cannot be found.
    #[error("the {format} image is damaged at byte {offset} of the input: {reason}")]
    Damaged {
        /// By its first bytes.
        format: Format,
        /// Bytes of the stream before the damage.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

/// The images of a stream, one after the other. The bytes of an image are those of the stream, and may
/// be damaged where that does not hide its end. Zeros between images are passed over: some cameras fill their
/// buffers with them. Ends after the first error.
pub struct Frames<R> {
    source: Source<R>,
    ended: bool,
}

impl<R: Read> Frames<R> {
    /// Reads images of at most `max_bytes` each.
    pub fn new(source: R, max_bytes: u64) -> Self {
        Self {
            source: Source::new(source, max_bytes),
            ended: false,
        }
    }

    fn next_frame(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        self.source.skip_zeros()?;
        let start = self.source.peek(png::SIGNATURE.len())?;
        if start.is_empty() {
            return Ok(None);
        }
        if start == png::SIGNATURE {
            self.source.begin(Format::Png);
            png::read(&mut self.source)?;
        } else if start.starts_with(&jpeg::START) {
            self.source.begin(Format::Jpeg);
            jpeg::read(&mut self.source)?;
        } else if png::SIGNATURE.starts_with(start) {
            let bytes = start.len() as u64;
            let format = Format::Png;
            return Err(FrameError::EndsTooEarly { format, bytes });
        } else {
            let hex: Vec<_> = start.iter().map(|byte| format!("{byte:02x}")).collect();
            return Err(FrameError::NotAFrame {
                offset: self.source.offset(),
                found: format!("the bytes {}", hex.join(" ")),
            });
        }
        Ok(Some(self.source.take_frame()))
    }
}

impl<R: Read> Iterator for Frames<R> {
    type Item = Result<Vec<u8>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let frame = self.next_frame().transpose();
        self.ended = !matches!(frame, Some(Ok(_)));
        frame
    }
}

#[cfg(test)]
mod tests;
