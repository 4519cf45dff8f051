//! The first directory of a TIFF file, which is also what Exif data are.

/// Tags of the first directory of `file`.
pub(crate) struct Directory<'a> {
    file: &'a [u8],
    big_endian: bool,
    is_big_tiff: bool,
    /// Where its entries begin, and how many there are.
    start: usize,
    count: usize,
}

pub(crate) const WIDTH: u16 = 256;
pub(crate) const HEIGHT: u16 = 257;
pub(crate) const PHOTOMETRIC: u16 = 262;
pub(crate) const FILL_ORDER: u16 = 266;
pub(crate) const ORIENTATION: u16 = 274;
pub(crate) const TILE_WIDTH: u16 = 322;
pub(crate) const TILE_HEIGHT: u16 = 323;

impl<'a> Directory<'a> {
    /// `None` when the file has none, or ends within it.
    pub(crate) fn first(file: &'a [u8]) -> Option<Self> {
        let big_endian = match file.get(..2)? {
            b"II" => false,
            b"MM" => true,
            _ => return None,
        };
        let mut directory = Self {
            file,
            big_endian,
            is_big_tiff: false,
            start: 0,
            count: 0,
        };
        let (offset, count) = match directory.number(2, 2)? {
            42 => {
                let offset = directory.number(4, 4)?;
                (offset, directory.number(offset, 2)?)
            }
            43 => {
                directory.is_big_tiff = true;
                let offset = directory.number(8, 8)?;
                (offset, directory.number(offset, 8)?)
            }
            _ => return None,
        };
        directory.start = offset.checked_add(if directory.is_big_tiff { 8 } else { 2 })?;
        directory.count = count;
        let length = count.checked_mul(directory.entry_bytes())?;
        file.get(directory.start..directory.start.checked_add(length)?)?;
        Some(directory)
    }

    /// The first value of a tag, when it is a whole number.
    pub(crate) fn value(&self, tag: u16) -> Option<u64> {
        let start = self.find(tag)?;
        let bytes = match self.number(start + 2, 2)? {
            1 => 1,
            3 => 2,
            4 => 4,
            16 => 8,
            _ => return None,
        };
        let offset = self.value_offset(start);
        self.number(offset, bytes).map(|value| value as u64)
    }

    /// Whether all values lie within the file.
    pub(crate) fn is_whole(&self) -> bool {
        let lies_within = |index| {
            let start = self.start + index * self.entry_bytes();
            let value = self.value_offset(start);
            let room = if self.is_big_tiff { 8 } else { 4 };
            let bytes = match self.number(start + 2, 2)? {
                3 | 8 => 2,
                4 | 9 | 11 | 13 => 4,
                5 | 10 | 12 | 16..=18 => 8,
                _ => 1,
            };
            let length = self.number(start + 4, room)?.checked_mul(bytes)?;
            if length > room {
                let offset = self.number(value, room)?;
                self.file.get(offset..offset.checked_add(length)?)?;
            }
            Some(())
        };
        (0..self.count).all(|index| lies_within(index).is_some())
    }

    /// The same file with another value of a tag that has one of two bytes.
    pub(crate) fn with_value(&self, tag: u16, value: u16) -> Option<Vec<u8>> {
        let offset = self.value_offset(self.find(tag)?);
        let mut file = self.file.to_vec();
        let bytes = if self.big_endian {
            value.to_be_bytes()
        } else {
            value.to_le_bytes()
        };
        file.get_mut(offset..offset + 2)?.copy_from_slice(&bytes);
        Some(file)
    }

    /// Where the entry of a tag begins.
    fn find(&self, tag: u16) -> Option<usize> {
        let mut starts = (0..self.count).map(|index| self.start + index * self.entry_bytes());
        starts.find(|&start| self.number(start, 2) == Some(tag.into()))
    }

    fn value_offset(&self, entry: usize) -> usize {
        entry + if self.is_big_tiff { 12 } else { 8 }
    }

    fn entry_bytes(&self) -> usize {
        if self.is_big_tiff { 20 } else { 12 }
    }

    fn number(&self, offset: usize, bytes: usize) -> Option<usize> {
        let bytes = self.file.get(offset..offset.checked_add(bytes)?)?;
        let add = |sum: u64, byte: &u8| (sum << 8) | u64::from(*byte);
        let number = if self.big_endian {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        };
        usize::try_from(number).ok()
    }
}
