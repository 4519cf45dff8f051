//! `.onnx` files of bundles: the signature that a bundle is checked by, and the whole graph.

#![no_main]

use lfbm_onnx::{decode, encode, signature};
use libfuzzer_sys::fuzz_target;

/// What stands beside the file.
static WEIGHTS: [u8; 1 << 14] = [0; 1 << 14];

fuzz_target!(|bytes: &[u8]| {
    let _ = signature(bytes);
    // External tensors of any place and size, as far as a small file goes.
    let external = |_: &str, offset: usize, length: usize| {
        let end = offset.checked_add(length)?;
        WEIGHTS.get(offset..end).map(<[u8]>::to_vec)
    };
    if let Ok(graph) = decode(bytes, &external) {
        let again = encode(&graph, None).unwrap();
        decode(&again, &external).unwrap();
    }
});
