//! Images of every kind are what the decoder that the server has, too, makes of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;

use lfbm_images::Fit;
use lfbm_model::pixels::from_bytes;
use lfbm_trainer::data::{DataArgs, DatasetName};

const SIDE: u32 = 16;

#[test]
fn every_kind_of_file_is_read_to_the_bit() {
    let files = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/images/tests/files");
    let folder = tempfile::tempdir().unwrap();
    let class = folder.path().join("all");
    fs::create_dir(&class).unwrap();
    let table = fs::read_to_string(files.join("table.txt")).unwrap();
    let names: Vec<_> = table
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    for (index, name) in names.iter().enumerate() {
        // Names say nothing.
        fs::copy(files.join(name), class.join(format!("{index:02}.jpg"))).unwrap();
    }
    for channels in [1, 3] {
        let data = DataArgs {
            dataset: DatasetName::Images,
            data_dir: Some(folder.path().to_owned()),
            test_list: None,
            image_size: Some(SIDE),
            crop: None,
            fit: Fit::Stretch,
            channels: Some(channels),
            skip_damaged: false,
            pixels_on_disk: true,
            strokes_count: 0,
            strokes_seed: 0,
        };
        let dataset = data.load().unwrap();
        assert_eq!(dataset.len(), names.len());
        for (index, name) in names.iter().enumerate() {
            let file = fs::read(files.join(name)).unwrap();
            let image = lfbm_images::decode(&file, 256).unwrap();
            let bytes = lfbm_images::planes(&image, channels.into());
            let expected: Vec<f32> = from_bytes(&bytes).collect();
            assert_eq!(dataset.files[index], format!("all/{index:02}.jpg"));
            assert_eq!(dataset.gather(&[index]), expected, "{name}");
        }
    }
}
