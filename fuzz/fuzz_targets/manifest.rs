//! `manifest.json`.

#![no_main]

use lfbm_bundle::parse_manifest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(manifest) = parse_manifest(text) {
        // What is accepted can be written and read again, and sizes made of it do not overflow.
        let again = serde_json::to_vec(&manifest).unwrap();
        assert_eq!(parse_manifest(&again).unwrap(), manifest);
        assert!(manifest.image.pixels() > 0);
    }
});
