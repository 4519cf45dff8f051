//! Colour images from a folder to a report: `trainer fit`, then `trainer evaluate`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::Command;

use image::{Rgb, RgbImage};
use lfbm_bundle::Bundle;

const SIDE: u32 = 40;
const IMAGES: u32 = 100;

/// Warm stripes of many widths and places, or cold ones.
fn write(folder: &Path, class: &str, colour: fn(f32) -> [f32; 3]) {
    let folder = folder.join(class);
    fs::create_dir_all(&folder).unwrap();
    for index in 0..IMAGES {
        let (frequency, phase) = (0.2 + 0.006 * index as f32, 0.7 * index as f32);
        let image = RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let wave = (frequency * (x + y) as f32 + phase).sin();
            Rgb(colour(0.5 + 0.5 * wave).map(|value| (255.0 * value) as u8))
        });
        image.save(folder.join(format!("{index}.png"))).unwrap();
    }
}

fn trainer(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(arguments)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_folder_of_colour_images_becomes_a_bundle_with_a_report() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write(&data, "warm", |value| [value, 0.4 * value, 0.0]);
    write(&data, "cold", |value| [0.0, 0.4 * value, value]);
    let (data, out) = (data.to_str().unwrap(), folder.path().join("bundle"));
    let out_name = out.to_str().unwrap();
    let mut arguments = vec!["fit", "--dataset", "images", "--data-dir", data];
    arguments.extend(["--channels", "3", "--crop", "36", "--image-size", "32"]);
    arguments.extend([
        "--normal-classes",
        "warm",
        "--device",
        "cpu",
        "--out",
        out_name,
    ]);
    for setting in [
        "model.generator=svhn",
        "model.width=2",
        "model.latent_dim=4",
        "model.sigma=0.3",
        "model.contrast_norm=0",
        "learning.iterations=20",
        "learning.generator_learning_rate=2e-2",
        "learning.batch_size=16",
        "learning.average_decay=0.5",
        "learning.langevin.steps=3",
        "calibration.count=45",
        "calibration.false_positive_rate=0.1",
    ] {
        arguments.extend(["--set", setting]);
    }
    trainer(&arguments);
    let bundle = Bundle::open(&out).unwrap();
    let image = &bundle.manifest().image;
    assert_eq!((image.channels, image.height, image.width), (3, 32, 32));

    let report = trainer(&["evaluate", out_name, "--data-dir", data, "--json"]);
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["images"], 20 + IMAGES);
    // Of other colours altogether.
    let auroc = report["metrics"]["log_joint"]["auroc"].as_f64().unwrap();
    assert!(auroc > 0.99, "{auroc}");
    let samples = image::open(out.join("report/samples.png")).unwrap();
    let coloured = |pixel: &Rgb<u8>| pixel[0].abs_diff(pixel[2]) > 30;
    assert!(samples.to_rgb8().pixels().any(coloured), "samples are grey");
}
