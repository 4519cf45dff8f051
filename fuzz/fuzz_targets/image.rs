//! Image files, as a request brings them, for a grey and a colour model, and as trainer and client
//! read them, of any size.

#![no_main]

use lfbm_bundle::manifest::{Contrast, ImageSpec, Intake};
use lfbm_images::Header;
use lfbm_server::request::Image;
use libfuzzer_sys::fuzz_target;

/// The most that a file of any size may have.
const PIXELS: u64 = 1 << 16;

fuzz_target!(|file: &[u8]| {
    let header = Header::read(file);
    if let Ok(image) = lfbm_images::decode(file, PIXELS) {
        let header = header.expect("what is decoded has a header");
        assert_eq!(
            (image.width(), image.height()),
            (header.width, header.height)
        );
        assert!(header.pixels() <= PIXELS);
        assert_eq!(
            lfbm_images::planes(&image, 3).len() as u64,
            3 * header.pixels()
        );
    }
    let image = Image::File(file.to_vec().into());
    for channels in [1, 3] {
        let spec = ImageSpec {
            channels,
            height: 8,
            width: 8,
            value_range: [-1.0, 1.0],
            contrast: Contrast::None,
            intake: Intake::STRETCH,
        };
        if let Ok(intensities) = image.decode(&spec, PIXELS) {
            assert_eq!(intensities.len(), spec.pixels());
            assert!(intensities.iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }
});
