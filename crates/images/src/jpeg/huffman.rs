//! Huffman tables, and the codes of a scan.

use super::damaged;
use super::segments::{RST0, RST7};
use crate::ImageError;

const SHORT_BITS: u32 = 8;

/// A table of one class.
#[derive(Clone)]
pub(super) struct Table {
    /// By the next eight bits: symbol and length of the code that they begin with; length 0 for a
    /// longer code or none.
    short: [(u8, u8); 1 << SHORT_BITS],
    /// By length: the first code of it, the first code that is longer, and the symbol of the first.
    lengths: [(u32, u32, usize); 17],
    symbols: Vec<u8>,
}

impl Table {
    /// `counts` says how many codes there are of one bit, of two, and so on.
    pub(super) fn new(counts: [u8; 16], symbols: &[u8]) -> Result<Self, ImageError> {
        let mut table = Self {
            short: [(0, 0); 1 << SHORT_BITS],
            lengths: [(0, 0, 0); 17],
            symbols: symbols.to_vec(),
        };
        let (mut code, mut index) = (0_u32, 0);
        for (length, &count) in (1_u32..).zip(&counts) {
            let end = code + u32::from(count);
            if end > 1 << length {
                return Err(damaged("a Huffman table has too many codes"));
            }
            table.lengths[length as usize] = (code, end, index);
            for (code, &symbol) in (code..end).zip(&symbols[index..]) {
                if length <= SHORT_BITS {
                    let shift = SHORT_BITS - length;
                    let range = (code << shift) as usize..((code + 1) << shift) as usize;
                    table.short[range].fill((symbol, length as u8));
                }
            }
            index += usize::from(count);
            code = end << 1;
        }
        Ok(table)
    }
}

/// The bits of a scan.
pub(super) struct Bits<'a> {
    codes: &'a [u8],
    /// The next ones are the highest.
    buffer: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(codes: &'a [u8]) -> Self {
        Self {
            codes,
            buffer: 0,
            count: 0,
        }
    }

    /// Fills the buffer, up to a marker or the end.
    fn fill(&mut self) {
        while self.count <= 56 {
            let (byte, length) = match self.codes {
                [0xff, 0x00, ..] => (0xff, 2),
                [0xff, ..] | [] => return,
                [byte, ..] => (*byte, 1),
            };
            self.codes = &self.codes[length..];
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn take(&mut self, count: u32) -> Result<u32, ImageError> {
        if count > self.count {
            return Err(damaged("a scan has too few codes"));
        }
        // A shift by all 64 bits is none.
        let bits = (self.buffer >> 1 >> (63 - count)) as u32;
        self.buffer <<= count;
        self.count -= count;
        Ok(bits)
    }

    /// The next `count` bits, 16 at most, the first one the highest.
    pub(super) fn read(&mut self, count: u32) -> Result<u32, ImageError> {
        if self.count < count {
            self.fill();
        }
        self.take(count)
    }

    /// The number of a category: `count` bits, of which the first says whether it is positive.
    pub(super) fn signed(&mut self, count: u32) -> Result<i32, ImageError> {
        let value = self.read(count)?.cast_signed();
        let is_negative = count > 0 && value < 1 << (count - 1);
        Ok(if is_negative {
            value - (1 << count) + 1
        } else {
            value
        })
    }

    /// The symbol of the next code.
    pub(super) fn symbol(&mut self, table: &Table) -> Result<u8, ImageError> {
        if self.count < 16 {
            self.fill();
        }
        let (symbol, length) = table.short[(self.buffer >> (64 - SHORT_BITS)) as usize];
        if length > 0 {
            self.take(length.into())?;
            return Ok(symbol);
        }
        for length in SHORT_BITS + 1..=16 {
            let code = (self.buffer >> (64 - length)) as u32;
            let (first, end, index) = table.lengths[length as usize];
            if (first..end).contains(&code) {
                self.take(length)?;
                return Ok(table.symbols[index + (code - first) as usize]);
            }
        }
        Err(damaged("a scan has a code that stands for nothing"))
    }

    /// Goes over the rest of an interval: the bits up to a whole byte, and zeros where some encoders
    /// pad.
    pub(super) fn finish(&mut self) -> Result<(), ImageError> {
        self.take(self.count % 8)?;
        self.fill();
        while self.count > 0 {
            if self.buffer != 0 {
                return Err(damaged("a scan has more codes than the image needs"));
            }
            self.count = 0;
            self.fill();
        }
        Ok(())
    }

    /// Goes over a restart marker and the end of the interval before it.
    pub(super) fn restart(&mut self, number: u8) -> Result<(), ImageError> {
        self.finish()?;
        let start = self.codes.iter().position(|&byte| byte != 0xff);
        match start.map(|start| self.codes.split_at(start)) {
            Some((_, [marker, rest @ ..])) if *marker == RST0 + number % 8 => {
                self.codes = rest;
                Ok(())
            }
            Some((_, [RST0..=RST7, ..])) => Err(damaged("a restart marker has a wrong number")),
            _ => Err(damaged("a restart marker is missing")),
        }
    }

    /// Goes over the end of the scan.
    pub(super) fn end(mut self) -> Result<(), ImageError> {
        self.finish()?;
        // What may be left is fill bytes.
        if self.codes.iter().all(|&byte| byte == 0xff) {
            return Ok(());
        }
        Err(damaged("a scan goes on beyond the image"))
    }
}
