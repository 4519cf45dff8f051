//! Little-endian numbers of a file, whose counts its bytes bound.

use crate::error::CalibrationError;

/// A count as it is in memory.
pub(crate) fn to_count(value: u64) -> Result<usize, CalibrationError> {
    usize::try_from(value).map_err(|_| CalibrationError::Size)
}

/// The product of counts.
pub(crate) fn product(counts: &[usize]) -> Result<usize, CalibrationError> {
    let product = counts
        .iter()
        .try_fold(1_usize, |product, count| product.checked_mul(*count));
    product.ok_or(CalibrationError::Size)
}

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

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], CalibrationError> {
        self.take(Some(count))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, CalibrationError> {
        match self.arrays(1)? {
            [value] => Ok(u64::from_le_bytes(*value)),
            _ => Err(CalibrationError::Size),
        }
    }

    pub(crate) fn count(&mut self) -> Result<usize, CalibrationError> {
        to_count(self.u64()?)
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
