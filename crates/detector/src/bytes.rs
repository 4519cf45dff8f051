//! Little-endian numbers of a file, whose counts its bytes bound.

use crate::error::CalibrationError;

/// What is left to read.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn take(&mut self, length: Option<usize>) -> Result<&'a [u8], CalibrationError> {
        let split = length.and_then(|length| self.0.split_at_checked(length));
        let (taken, rest) = split.ok_or(CalibrationError::Size)?;
        self.0 = rest;
        Ok(taken)
    }

    fn arrays<const N: usize>(&mut self, count: usize) -> Result<&'a [[u8; N]], CalibrationError> {
        Ok(self.take(count.checked_mul(N))?.as_chunks().0)
    }

    pub(crate) fn count(&mut self) -> Result<usize, CalibrationError> {
        let [count] = self.arrays(1)? else {
            return Err(CalibrationError::Size);
        };
        usize::try_from(u64::from_le_bytes(*count)).map_err(|_| CalibrationError::Size)
    }

    pub(crate) fn u32s(&mut self, count: usize) -> Result<Vec<u32>, CalibrationError> {
        let values = self.arrays(count)?.iter();
        Ok(values.map(|value| u32::from_le_bytes(*value)).collect())
    }

    pub(crate) fn f32s(&mut self, count: usize) -> Result<Vec<f32>, CalibrationError> {
        let values = self.arrays(count)?.iter();
        Ok(values.map(|value| f32::from_le_bytes(*value)).collect())
    }

    pub(crate) fn f64s(&mut self, count: usize) -> Result<Vec<f64>, CalibrationError> {
        let values = self.arrays(count)?.iter();
        Ok(values.map(|value| f64::from_le_bytes(*value)).collect())
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Checks that nothing is left.
    pub(crate) fn end(self) -> Result<(), CalibrationError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(CalibrationError::Size)
        }
    }
}
