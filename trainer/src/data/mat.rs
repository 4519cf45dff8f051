//! Numeric arrays of MATLAB level 5 MAT-files (MathWorks, "MAT-File Format", chapter 1): what SVHN
//! comes in. Little-endian files, compressed or not; other classes of arrays are skipped.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::ZlibDecoder;

use super::DataError;

const HEADER_BYTES: usize = 128;
/// Version 1.0 and the byte order, as a little-endian file writes them.
const VERSION_AND_ORDER: [u8; 4] = [0x00, 0x01, b'I', b'M'];

/// The largest size of one array in bytes. The largest file of SVHN holds 1.6 GB.
const MAX_INFLATED_BYTES: u64 = 4 << 30;

// Types of data elements.
const UINT8: u32 = 2;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const DOUBLE: u32 = 9;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;

/// Classes of arrays from the first numeric one to the last.
const NUMERIC: std::ops::RangeInclusive<u8> = 6..=15;

/// One array, column major.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    /// Sizes of its dimensions.
    pub dims: Vec<usize>,
    /// The type that its values are stored as.
    kind: u32,
    bytes: Vec<u8>,
}

impl Array {
    /// The values, if they are unsigned bytes and match the dimensions.
    pub fn bytes(&self) -> Option<&[u8]> {
        let whole = self.bytes.len() == self.dims.iter().product::<usize>();
        (self.kind == UINT8 && whole).then_some(&self.bytes)
    }

    /// The values, if all are whole numbers from 0 to 255.
    pub fn small_integers(&self) -> Option<Vec<u8>> {
        if self.kind != DOUBLE {
            return self.bytes().map(<[u8]>::to_vec);
        }
        let (values, _) = self.bytes.as_chunks::<8>();
        let small = |bytes: &[u8; 8]| {
            let value = f64::from_le_bytes(*bytes);
            (value.fract() == 0.0 && (0.0..=255.0).contains(&value)).then_some(value as u8)
        };
        values.iter().map(small).collect()
    }
}

/// The arrays of a file by name.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Array>, DataError> {
    let bytes = fs::read(path).map_err(DataError::io(path))?;
    let body = match bytes.split_at_checked(HEADER_BYTES) {
        Some((header, body)) if header.ends_with(&VERSION_AND_ORDER) => body,
        _ => {
            let reason = "it is no MAT-file of level 5 (MATLAB's -v6 and -v7, little-endian)";
            return Err(DataError::invalid(path, reason));
        }
    };
    let cut = || DataError::invalid(path, "it ends within an array, or an array is damaged");
    let mut arrays = BTreeMap::new();
    let mut rest = body;
    while !rest.is_empty() {
        let (kind, data, next) = element(rest).ok_or_else(cut)?;
        rest = next;
        let found = match kind {
            COMPRESSED => {
                let mut inflated = Vec::new();
                ZlibDecoder::new(data)
                    .take(MAX_INFLATED_BYTES + 1)
                    .read_to_end(&mut inflated)
                    .map_err(DataError::io(path))?;
                if inflated.len() as u64 > MAX_INFLATED_BYTES {
                    return Err(DataError::invalid(path, "an array inflates to over 4 GiB"));
                }
                let (kind, data, _) = element(&inflated).ok_or_else(cut)?;
                matrix(kind, data)
            }
            kind => matrix(kind, data),
        };
        if let Some((name, array)) = found.ok_or_else(cut)? {
            arrays.insert(name, array);
        }
    }
    Ok(arrays)
}

/// Type and data of the first element, and what comes after it.
fn element(bytes: &[u8]) -> Option<(u32, &[u8], &[u8])> {
    let tag = word(bytes)?;
    let small = tag >> 16;
    if small != 0 {
        // Up to four bytes of data share the tag's eight.
        let data = bytes.get(4..4 + small as usize).filter(|_| small <= 4)?;
        return Some((tag & 0xffff, data, bytes.get(8..)?));
    }
    let end = 8_usize.checked_add(word(bytes.get(4..)?)? as usize)?;
    let data = bytes.get(8..end)?;
    let padded = if tag == COMPRESSED {
        end
    } else {
        end.next_multiple_of(8)
    };
    Some((tag, data, bytes.get(padded..).unwrap_or_default()))
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

/// Name and values of an array, `Some(None)` for a non-numeric array, `None` for a damaged one.
fn matrix(kind: u32, data: &[u8]) -> Option<Option<(String, Array)>> {
    if kind != MATRIX {
        return Some(None);
    }
    let (UINT32, flags, rest) = element(data)? else {
        return None;
    };
    if !NUMERIC.contains(flags.first()?) {
        return Some(None);
    }
    let (INT32, dims, rest) = element(rest)? else {
        return None;
    };
    let dims = dims.as_chunks::<4>().0.iter();
    let dims = dims
        .map(|bytes| usize::try_from(i32::from_le_bytes(*bytes)).ok())
        .collect::<Option<Vec<_>>>()?;
    dims.iter()
        .try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    let (_, name, rest) = element(rest)?;
    let (kind, values, _) = element(rest)?;
    let array = Array {
        dims,
        kind,
        bytes: values.to_vec(),
    };
    Some(Some((String::from_utf8_lossy(name).into_owned(), array)))
}
