//! PNG and JPEG files, as a request brings them, for a grey and a colour model.

#![no_main]

use lfbm_bundle::manifest::{Contrast, ImageSpec};
use lfbm_server::proto::{Image, image::Content};
use lfbm_server::wire;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    let image = Image {
        content: Some(Content::Encoded(file.to_vec())),
    };
    for channels in [1, 3] {
        let spec = ImageSpec {
            channels,
            height: 8,
            width: 8,
            value_range: [-1.0, 1.0],
            contrast: Contrast::None,
        };
        if let Ok(intensities) = wire::decode(Some(&image), &spec) {
            assert_eq!(intensities.len(), spec.pixels());
            assert!(intensities.iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }
});
