//! Images of every kind are what the decoder that the trainer has, too, makes of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use lfbm_bundle::manifest::{Contrast, ImageSpec, Intake};
use lfbm_model::pixels::from_bytes;
use lfbm_server::wire::image;
use lfbm_wire::{Image, image::Content};

#[test]
fn every_kind_of_file_is_read_to_the_bit() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/images/tests/files");
    let table = fs::read_to_string(files.join("table.txt")).unwrap();
    for name in table.lines().map(|line| line.split(' ').next().unwrap()) {
        let file = fs::read(files.join(name)).unwrap();
        for channels in [1, 3] {
            let spec = ImageSpec {
                channels,
                height: 16,
                width: 16,
                value_range: [-1.0, 1.0],
                contrast: Contrast::None,
                intake: Intake::STRETCH,
            };
            let content = Some(Content::Encoded(file.clone()));
            let intensities = image(Some(Image { content }))
                .unwrap()
                .decode(&spec, 256)
                .unwrap();
            let bytes = lfbm_images::planes(&lfbm_images::decode(&file, 256).unwrap(), channels);
            let expected: Vec<f32> = from_bytes(&bytes).collect();
            assert_eq!(intensities, expected, "{name}");
        }
    }
}
