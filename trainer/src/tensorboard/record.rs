//! The framing of TFRecord files: a length, its checksum, the bytes, their checksum.
//! (<https://www.tensorflow.org/tutorials/load_data/tfrecord>, "TFRecords format details".)

use crc::{CRC_32_ISCSI, Crc};

/// CRC-32C.
const CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
const MASK_DELTA: u32 = 0xa282_ead8;

/// Bytes as a record.
pub(super) fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let checksum = |bytes| masked_crc(bytes).to_le_bytes();
    [&length[..], &checksum(&length), bytes, &checksum(bytes)].concat()
}

/// A checksum that is no CRC of what holds CRCs itself.
fn masked_crc(bytes: &[u8]) -> u32 {
    let crc = CRC_32C.checksum(bytes);
    crc.rotate_right(15).wrapping_add(MASK_DELTA)
}

/// The bytes of the records of a file, one after the other; their checksums must hold.
#[cfg(test)]
pub(super) fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let Some((head, rest)) = file.split_first_chunk::<12>() {
        let (length, checksum) = head.split_at(8);
        assert_eq!(masked_crc(length).to_le_bytes(), checksum);
        let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
        let (bytes, rest) = rest.split_at(length);
        let (checksum, rest) = rest.split_at(4);
        assert_eq!(masked_crc(bytes).to_le_bytes(), checksum);
        records.push(bytes.to_vec());
        file = rest;
    }
    assert!(file.is_empty(), "the last record is cut off");
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_of_24_bytes_is_that_of_tensorflow() {
        // The check value of CRC-32C (RFC 3720, B.4, and its catalogues).
        assert_eq!(CRC_32C.checksum(b"123456789"), 0xe306_9283);
        // What event files of TensorFlow begin with: the length of their first event, and its checksum.
        let framed = record(&[0; 24]);
        let expected = [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22];
        assert_eq!(framed[..12], expected);
        assert_eq!(framed.len(), 12 + 24 + 4);
        assert_eq!(records(&framed), [vec![0; 24]]);
    }
}
