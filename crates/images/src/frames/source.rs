use std::io::{ErrorKind, Read};

use super::FrameError;
use crate::Format;

const BLOCK: usize = 64 << 10;

/// A stream, and as much of the present frame as was read.
pub(super) struct Source<R> {
    reader: R,
    /// Read ahead; what is before `position` is used up.
    block: Vec<u8>,
    position: usize,
    /// Bytes of the stream that are used up.
    offset: u64,
    format: Format,
    frame: Vec<u8>,
    max_bytes: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R, max_bytes: u64) -> Self {
        Self {
            reader,
            block: Vec::new(),
            position: 0,
            offset: 0,
            format: Format::Jpeg,
            frame: Vec::new(),
            max_bytes,
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// What was read ahead; waits until there is something. Empty at the end of the stream.
    fn ahead(&mut self) -> Result<&[u8], FrameError> {
        if self.position == self.block.len() {
            self.read_ahead()?;
        }
        Ok(&self.block[self.position..])
    }

    /// Reads once, behind what was read ahead; how many bytes came.
    fn read_ahead(&mut self) -> Result<usize, FrameError> {
        self.block.drain(..self.position);
        self.position = 0;
        let filled = self.block.len();
        self.block.resize(filled + BLOCK, 0);
        let read = loop {
            match self.reader.read(&mut self.block[filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.block
            .truncate(filled + read.as_ref().copied().unwrap_or(0));
        Ok(read?)
    }

    /// The next bytes, which stay there; fewer only at the end of the stream.
    pub(super) fn peek(&mut self, count: usize) -> Result<&[u8], FrameError> {
        while self.block.len() - self.position < count && self.read_ahead()? > 0 {}
        let end = self.block.len().min(self.position + count);
        Ok(&self.block[self.position..end])
    }

    fn use_up(&mut self, count: usize) {
        self.position += count;
        self.offset += count as u64;
    }

    /// Passes over zeros.
    pub(super) fn skip_zeros(&mut self) -> Result<(), FrameError> {
        loop {
            let ahead = self.ahead()?;
            let length = ahead.len();
            let zeros = ahead.iter().position(|&byte| byte != 0).unwrap_or(length);
            self.use_up(zeros);
            if zeros < length || length == 0 {
                return Ok(());
            }
        }
    }

    /// A frame begins here.
    pub(super) fn begin(&mut self, format: Format) {
        self.format = format;
        self.frame = Vec::new();
    }

    /// Moves up to `count` bytes into the frame, at least one.
    fn move_some(&mut self, count: usize) -> Result<usize, FrameError> {
        let (format, bytes) = (self.format, self.frame.len() as u64);
        let available = self.ahead()?.len().min(count);
        if available == 0 {
            return Err(FrameError::EndsTooEarly { format, bytes });
        }
        self.check_room(available as u64)?;
        let taken = &self.block[self.position..self.position + available];
        self.frame.extend_from_slice(taken);
        self.use_up(available);
        Ok(available)
    }

    fn check_room(&self, count: u64) -> Result<(), FrameError> {
        if self.frame.len() as u64 + count > self.max_bytes {
            return Err(FrameError::TooLarge {
                format: self.format,
                limit: self.max_bytes,
            });
        }
        Ok(())
    }

    /// The next `count` bytes belong to the frame.
    pub(super) fn pass(&mut self, count: u64) -> Result<(), FrameError> {
        self.check_room(count)?;
        let mut left = usize::try_from(count).unwrap_or(usize::MAX);
        while left > 0 {
            left -= self.move_some(left)?;
        }
        Ok(())
    }

    /// The next N bytes, which belong to the frame.
    pub(super) fn read<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        self.pass(N as u64)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.frame[self.frame.len() - N..]);
        Ok(bytes)
    }

    /// Everything up to and with the next byte of this value belongs to the frame.
    pub(super) fn pass_until(&mut self, value: u8) -> Result<(), FrameError> {
        loop {
            let ahead = self.ahead()?;
            let found = ahead.iter().position(|&byte| byte == value);
            let count = found.map_or(ahead.len(), |index| index + 1);
            self.move_some(count.max(1))?;
            if found.is_some() {
                return Ok(());
            }
        }
    }

    pub(super) fn damaged(&self, reason: &'static str) -> FrameError {
        FrameError::Damaged {
            format: self.format,
            offset: self.offset,
            reason,
        }
    }

    pub(super) fn take_frame(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.frame)
    }
}
