//! Checkpoints: what is read, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lfbm_model::{CheckpointError, read_checkpoint};
use lfbm_onnx::Tensor;
use lfbm_testkit::checkpoint;

fn tensors() -> [Tensor; 3] {
    [
        Tensor::new([2, 3], vec![1.0, -2.5, 3.0, 0.0, 1e-30, 6.0]),
        Tensor::new([1, 1, 1], vec![7.0]),
        Tensor::new([], vec![-8.0]),
    ]
}

fn bytes() -> Vec<u8> {
    let [a, b, c] = tensors();
    checkpoint(&[("layer.weight", &a), ("layer.bias", &b), ("c", &c)])
}

/// `bytes` with the first `old` replaced by `new`.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let at = bytes.windows(old.len()).position(|part| part == old);
    let at = at.expect("the bytes to replace are there");
    [&bytes[..at], new, &bytes[at + old.len()..]].concat()
}

fn refusal(bytes: &[u8]) -> String {
    read_checkpoint(bytes).unwrap_err().to_string()
}

#[test]
fn tensors_come_back_by_name() {
    let bytes = bytes();
    let read = read_checkpoint(&bytes).unwrap();
    let [a, b, c] = tensors();
    assert_eq!(read.tensor("layer.weight"), Some(a));
    assert_eq!(read.tensor("layer.bias"), Some(b));
    assert_eq!(read.tensor("c"), Some(c));
    assert_eq!(read.tensor("d"), None);
    let shapes: Vec<_> = read.shapes().collect();
    let expected: [(&str, &[usize]); 3] = [
        ("c", &[]),
        ("layer.bias", &[1, 1, 1]),
        ("layer.weight", &[2, 3]),
    ];
    assert_eq!(shapes, expected);
}

#[test]
fn a_transposed_tensor_is_read_along_its_strides() {
    let bytes = replaced(&bytes(), b"t(J\x03\0\0\0J\x01", b"t(J\x01\0\0\0J\x02");
    let read = read_checkpoint(&bytes).unwrap();
    let expected = Tensor::new([2, 3], vec![1.0, 3.0, 1e-30, -2.5, 0.0, 6.0]);
    assert_eq!(read.tensor("layer.weight"), Some(expected));
    let outside = replaced(&bytes, b"t(J\x01\0\0\0J\x02", b"t(J\x02\0\0\0J\x02");
    assert!(refusal(&outside).contains("larger than its storage"));
    // 4 x 3 elements of a storage of six.
    let repeated = replaced(
        &bytes,
        b"(J\x02\0\0\0J\x03\0\0\0t(J\x01",
        b"(J\x04\0\0\0J\x03\0\0\0t(J\0",
    );
    assert!(refusal(&repeated).contains("larger than its storage"));
}

#[test]
fn tensors_of_other_types_are_left_out() {
    let long = Tensor::new([1], vec![0.0]);
    let bytes = checkpoint(&[("steps", &long), ("kept", &long)]);
    let bytes = replaced(&bytes, b"ctorch\nFloatStorage", b"ctorch\nIntStorage");
    let read = read_checkpoint(&bytes).unwrap();
    let names: Vec<_> = read.shapes().map(|(name, _)| name).collect();
    assert_eq!(names, ["kept"]);
}

#[test]
fn a_checkpoint_that_is_cut_anywhere_is_refused() {
    let bytes = bytes();
    for length in 0..bytes.len() {
        assert!(read_checkpoint(&bytes[..length]).is_err(), "{length}");
    }
}

#[test]
fn what_could_run_code_is_refused_by_name() {
    let bytes = bytes();
    let system = replaced(&bytes, b"ccollections\nOrderedDict", b"cos\nsystem");
    assert!(refusal(&system).contains("os.system"));
    // NEWOBJ
    let bytes = replaced(&bytes, b")R", b")\x81");
    assert!(matches!(
        read_checkpoint(&bytes),
        Err(CheckpointError::Opcode(0x81))
    ));
}

#[test]
fn sizes_that_the_file_does_not_have_are_refused() {
    let bytes = bytes();
    let size = |size: u32| [b"J", &size.to_le_bytes()[..]].concat();
    // The shape [2, 3] starts after the offset.
    let shape = |first: u32| [b"K\0(", &size(first)[..]].concat();
    let larger = replaced(&bytes, &shape(2), &shape(1 << 30));
    assert!(refusal(&larger).contains("larger than its storage"));
    let storage = |length: u32| [b"cpu", &size(length)[..]].concat();
    let larger = replaced(&bytes, &storage(6), &storage(1 << 30));
    assert!(refusal(&larger).contains("has 6 elements, expected 1073741824"));
    let empty = Tensor::new([2, 2, 0], Vec::new());
    let empty = checkpoint(&[("empty", &empty)]);
    assert_eq!(read_checkpoint(&empty).unwrap().shapes().count(), 1);
    // Three sizes whose product no machine counts, then the zero.
    let sizes = [size(2), size(2), size(0)].concat();
    let huge = [&size(i32::MAX as u32).repeat(3)[..], &size(0)].concat();
    let huge = replaced(&empty, &sizes, &huge);
    let strides = [b"t(", &size(0)[..]].concat();
    let huge = replaced(&huge, &strides, &[&strides[..], &size(0)].concat());
    assert!(refusal(&huge).contains("larger than its storage"));
    let negative = replaced(&bytes, &shape(2), &shape(u32::MAX));
    assert!(matches!(
        read_checkpoint(&negative),
        Err(CheckpointError::Pickle(_))
    ));
}

#[test]
fn what_is_no_state_dict_is_refused() {
    assert!(refusal(b"PK\x03\x04").contains("_use_new_zipfile_serialization=False"));
    assert!(refusal(b"GIF89a").contains("magic number"));
    let bytes = bytes();
    let followed = [&bytes[..], b"more"].concat();
    assert!(refusal(&followed).contains("4 bytes follow"));
    let big_endian = replaced(&bytes, b"\x88u.", b"\x89u.");
    assert!(refusal(&big_endian).contains("little-endian"));
    let twice = replaced(&bytes, b"X\x01\0\0\0c", b"X\x0a\0\0\0layer.bias");
    assert!(refusal(&twice).contains("layer.bias is there twice"));
}

#[test]
fn a_pickle_without_end_is_refused() {
    let bytes = bytes();
    let start = bytes.windows(2).position(|part| part == b"}q").unwrap();
    let endless = [&bytes[..start], &b"N".repeat(1 << 21)[..]].concat();
    assert!(refusal(&endless).contains("more than 1048576 opcodes"));
}
