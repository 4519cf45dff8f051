//! Reads the codes of every scan, as a decoder does, and keeps no pixel: decoders go on over damage,
//! and give grey or shifted blocks for it.

use super::huffman::{Bits, Table};
use super::segments::{Component, Frame};
use super::{FORMAT, damaged};
use crate::ImageError;
use crate::header::u16_be;

/// Progressive files have some ten scans. Each costs a pass over the image, however short it is.
const MAX_SCANS: usize = 500;
/// Of a difference of DC coefficients of 8-bit images; of AC coefficients it is one less.
const MAX_CATEGORY: u8 = 11;
/// 8 x 8 samples of one value, from the middle of the range; twice that, for encoders that round up.
const MAX_DC: i64 = 2 * 8 * 128;

/// Tables, and what is known of the coefficients.
pub(super) struct Checker {
    frame: Frame,
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// The DC coefficient's step of each quantisation table.
    dc_steps: [i64; 4],
    restart_interval: usize,
    /// For a progressive frame, by component and block: a bit for each coefficient that is not 0.
    nonzero: Vec<Vec<u64>>,
    has_dc: Vec<bool>,
    scans: usize,
}

/// What a scan header says.
#[derive(Clone, Copy)]
struct Band {
    start: usize,
    end: usize,
    high: u32,
    low: u32,
}

/// What blocks of a scan have from those before.
#[derive(Default)]
struct Run {
    dc: [i64; 4],
    /// Blocks that have no more coefficients in this band.
    blocks: u32,
}

/// A component of a scan with its tables.
struct Part<'a> {
    index: usize,
    component: Component,
    dc: Option<&'a Table>,
    ac: Option<&'a Table>,
    dc_step: i64,
}

fn table(table: Option<&Table>) -> Result<&Table, ImageError> {
    table.ok_or_else(|| damaged("a scan comes before its Huffman table"))
}

impl Checker {
    pub(super) fn new(frame: Frame) -> Self {
        let blocks = |component: &Component| {
            let (columns, rows) = frame.units();
            columns * component.horizontal * rows * component.vertical
        };
        let nonzero = if frame.progressive {
            let components = frame.components.iter();
            components.map(|part| vec![0; blocks(part)]).collect()
        } else {
            Vec::new()
        };
        Self {
            nonzero,
            has_dc: vec![false; frame.components.len()],
            frame,
            dc: Default::default(),
            ac: Default::default(),
            dc_steps: [1; 4],
            restart_interval: 0,
            scans: 0,
        }
    }

    /// DHT: Huffman tables.
    pub(super) fn huffman(&mut self, mut data: &[u8]) -> Result<(), ImageError> {
        while let Some((&[kind, ref counts @ ..], rest)) = data.split_first_chunk::<17>() {
            let symbols: usize = counts.iter().map(|&count| usize::from(count)).sum();
            let (true, Some(symbols)) = (symbols <= 256, rest.get(..symbols)) else {
                return Err(damaged("a Huffman table is too short"));
            };
            let tables = if kind >> 4 == 0 {
                &mut self.dc
            } else {
                &mut self.ac
            };
            let slot = tables.get_mut(usize::from(kind & 15));
            let slot = slot.ok_or_else(|| damaged("a Huffman table has a number above 3"))?;
            *slot = Some(Table::new(*counts, symbols)?);
            data = &rest[symbols.len()..];
        }
        Ok(())
    }

    /// DQT: quantisation tables.
    pub(super) fn quantization(&mut self, mut data: &[u8]) -> Result<(), ImageError> {
        while let Some((&kind, rest)) = data.split_first() {
            let (step, length) = match kind >> 4 {
                0 => (rest.first().map(|&step| step.into()), 64),
                _ => (u16_be(rest, 0), 128),
            };
            let slot = self.dc_steps.get_mut(usize::from(kind & 15));
            let (Some(step), Some(slot), Some(rest)) = (step, slot, rest.get(length..)) else {
                return Err(damaged("a quantisation table is too short"));
            };
            *slot = step.into();
            data = rest;
        }
        Ok(())
    }

    /// DRI: the restart interval.
    pub(super) fn restart(&mut self, data: &[u8]) -> Result<(), ImageError> {
        let interval = u16_be(data, 0).ok_or_else(|| damaged("the restart interval is missing"))?;
        self.restart_interval = interval.into();
        Ok(())
    }

    /// SOS: a scan, its header and its codes. What the header of a sequential scan says of
    /// coefficients has one meaning, which is put in: some encoders do not.
    pub(super) fn scan(&mut self, header: &mut [u8], codes: &[u8]) -> Result<(), ImageError> {
        if let (false, Some(tail)) = (self.frame.progressive, header.last_chunk_mut()) {
            *tail = [0, 63, 0];
        }
        let header = &*header;
        self.scans += 1;
        if self.scans > MAX_SCANS {
            let feature = format!("more than {MAX_SCANS} scans");
            return Err(ImageError::unsupported(FORMAT, feature));
        }
        let mut nonzero = std::mem::take(&mut self.nonzero);
        let (parts, band) = self.parts(header)?;
        let is_refined = band.high > 0;
        let mut bits = Bits::new(codes);
        let mut run = Run::default();
        let interleaved = parts.len() > 1;
        let (columns, rows) = match &parts[..] {
            [part] => self.frame.blocks(&part.component),
            _ => self.frame.units(),
        };
        let mut left = self.restart_interval;
        let mut restarts = 0;
        for unit in 0..columns * rows {
            if self.restart_interval > 0 {
                if left == 0 {
                    run = run.ended()?;
                    bits.restart(restarts)?;
                    restarts = (restarts + 1) % 8;
                    left = self.restart_interval;
                }
                left -= 1;
            }
            let (row, column) = (unit / columns, unit % columns);
            for part in &parts {
                let (across, down) = match interleaved {
                    true => (part.component.horizontal, part.component.vertical),
                    false => (1, 1),
                };
                let stride = self.frame.units().0 * part.component.horizontal;
                for block in 0..across * down {
                    if !self.frame.progressive {
                        sequential(&mut bits, part, &mut run)?;
                        continue;
                    }
                    let y = row * down + block / across;
                    let x = column * across + block % across;
                    let known = &mut nonzero[part.index][y * stride + x];
                    match (band.start, is_refined) {
                        (0, false) => run.dc(&mut bits, part, band.low)?,
                        (0, true) => {
                            bits.read(1)?;
                        }
                        (_, false) => run.first(&mut bits, table(part.ac)?, band, known)?,
                        (_, true) => run.refine(&mut bits, table(part.ac)?, band, known)?,
                    }
                }
            }
        }
        run.ended()?;
        bits.end()?;
        let indices: Vec<_> = parts.iter().map(|part| part.index).collect();
        for index in indices {
            self.has_dc[index] |= band.start == 0;
        }
        self.nonzero = nonzero;
        Ok(())
    }

    fn parts(&self, header: &[u8]) -> Result<(Vec<Part<'_>>, Band), ImageError> {
        let wrong = || damaged("a scan header does not fit the frame");
        let (&count, rest) = header.split_first().ok_or_else(wrong)?;
        let length = 2 * usize::from(count);
        let (true, Some((chosen, tail))) = (
            (1..=4).contains(&count) && rest.len() == length + 3,
            rest.split_at_checked(length),
        ) else {
            return Err(wrong());
        };
        let mut parts = Vec::new();
        for pair in chosen.chunks_exact(2) {
            let components = self.frame.components.iter();
            let index = components.clone().position(|part| part.id == pair[0]);
            let index = index.ok_or_else(wrong)?;
            if parts.iter().any(|part: &Part<'_>| part.index >= index) {
                return Err(wrong());
            }
            let component = self.frame.components[index];
            parts.push(Part {
                index,
                component,
                dc: self
                    .dc
                    .get(usize::from(pair[1] >> 4))
                    .and_then(Option::as_ref),
                ac: self
                    .ac
                    .get(usize::from(pair[1] & 15))
                    .and_then(Option::as_ref),
                dc_step: *self.dc_steps.get(component.table).ok_or_else(wrong)?,
            });
        }
        let band = Band {
            start: tail[0].into(),
            end: tail[1].into(),
            high: (tail[2] >> 4).into(),
            low: (tail[2] & 15).into(),
        };
        let is_dc = band.start == 0 && band.end == 0;
        let is_ac = band.start > 0 && band.end >= band.start && band.end < 64 && parts.len() == 1;
        let is_step = band.low <= 13 && (band.high == 0 || band.high == band.low + 1);
        if self.frame.progressive && !((is_dc || is_ac) && is_step) {
            return Err(wrong());
        }
        Ok((parts, band))
    }

    /// What is said of the whole file at its end.
    pub(super) fn end(&self) -> Result<(), ImageError> {
        if self.has_dc.iter().all(|has_dc| *has_dc) {
            return Ok(());
        }
        Err(damaged("a component has no scan"))
    }
}

/// A block of a sequential scan.
fn sequential(bits: &mut Bits<'_>, part: &Part<'_>, run: &mut Run) -> Result<(), ImageError> {
    run.dc(bits, part, 0)?;
    let table = table(part.ac)?;
    let mut index = 1;
    while index < 64 {
        let symbol = bits.symbol(table)?;
        let (zeros, category) = (usize::from(symbol >> 4), symbol & 15);
        match (zeros, category) {
            (0, 0) => return Ok(()),
            (15, 0) => index += 16,
            (_, 1..MAX_CATEGORY) => {
                bits.read(category.into())?;
                index += zeros + 1;
            }
            _ => return Err(damaged("a coefficient is out of range")),
        }
    }
    if index > 64 {
        return Err(damaged("a block has too many coefficients"));
    }
    Ok(())
}

impl Run {
    /// The difference of a DC coefficient.
    fn dc(&mut self, bits: &mut Bits<'_>, part: &Part<'_>, low: u32) -> Result<(), ImageError> {
        let category = bits.symbol(table(part.dc)?)?;
        if category > MAX_CATEGORY {
            return Err(damaged("a coefficient is out of range"));
        }
        let value = &mut self.dc[part.index];
        *value += i64::from(bits.signed(category.into())?) << low;
        if value.abs() * part.dc_step > MAX_DC + part.dc_step {
            return Err(damaged("a block is brighter or darker than can be"));
        }
        Ok(())
    }

    /// The first bits of the coefficients of a band in a block.
    fn first(
        &mut self,
        bits: &mut Bits<'_>,
        table: &Table,
        band: Band,
        nonzero: &mut u64,
    ) -> Result<(), ImageError> {
        if self.blocks > 0 {
            self.blocks -= 1;
            return Ok(());
        }
        let mut index = band.start;
        while index <= band.end {
            let symbol = bits.symbol(table)?;
            let (zeros, category) = (u32::from(symbol >> 4), symbol & 15);
            match (zeros, category) {
                (15, 0) => index += 16,
                (_, 0) => {
                    self.blocks = (1 << zeros) + bits.read(zeros)? - 1;
                    return Ok(());
                }
                (_, 1..MAX_CATEGORY) => {
                    bits.read(category.into())?;
                    index += zeros as usize;
                    if index <= band.end {
                        *nonzero |= 1 << index;
                    }
                    index += 1;
                }
                _ => return Err(damaged("a coefficient is out of range")),
            }
        }
        if index > band.end + 1 {
            return Err(damaged("a block has too many coefficients"));
        }
        Ok(())
    }

    /// One more bit of the coefficients of a band in a block.
    fn refine(
        &mut self,
        bits: &mut Bits<'_>,
        table: &Table,
        band: Band,
        nonzero: &mut u64,
    ) -> Result<(), ImageError> {
        let mut index = band.start;
        while self.blocks == 0 && index <= band.end {
            let symbol = bits.symbol(table)?;
            let (zeros, category) = (u32::from(symbol >> 4), symbol & 15);
            let mut skipped = match (zeros, category) {
                (15, 0) => 15,
                (_, 0) => {
                    self.blocks = (1 << zeros) + bits.read(zeros)?;
                    break;
                }
                (_, 1) => {
                    bits.read(1)?;
                    zeros
                }
                _ => return Err(damaged("a coefficient is out of range")),
            };
            // Those that are known get a bit each; the run counts the others.
            loop {
                if index > band.end {
                    return Err(damaged("a block has too many coefficients"));
                }
                if (*nonzero >> index) & 1 == 1 {
                    bits.read(1)?;
                } else if skipped == 0 {
                    break;
                } else {
                    skipped -= 1;
                }
                index += 1;
            }
            *nonzero |= u64::from(category) << index;
            index += 1;
        }
        if self.blocks > 0 {
            self.blocks -= 1;
            let band_bits = (u64::MAX << index) & (u64::MAX >> (63 - band.end));
            let known = *nonzero & band_bits;
            for _ in 0..known.count_ones() {
                bits.read(1)?;
            }
        }
        Ok(())
    }

    /// Begins anew after an interval.
    fn ended(self) -> Result<Self, ImageError> {
        if self.blocks > 0 {
            return Err(damaged("a run of blocks goes on beyond its interval"));
        }
        Ok(Self::default())
    }
}
