//! Further normal images for a bundle, without a fit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::imageops::{FilterType, crop_imm, resize};
use lfbm_bundle::Bundle;
use process::{done, draw, fit_cloth, fit_folder, names, refused, trainer};
use serde_json::Value;

fn extend(bundle: &Path, normals: &Path, out: &Path) -> Command {
    let mut command = trainer(["extend"]);
    command.arg(bundle).arg("--normals").arg(normals);
    command.arg("--out").arg(out);
    command
}

/// The share of normal images that are called anomalous, of a folder with the classes `good` and `bad`.
fn false_alarms(bundle: &Path, images: &Path) -> f64 {
    let out = tempfile::tempdir().unwrap();
    let mut evaluate = trainer(["evaluate", "--json", "--normal-classes", "good"]);
    evaluate.arg(bundle).arg("--data-dir").arg(images);
    let output = evaluate.arg("--out").arg(out.path()).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["threshold"]["false_positive_rate"].as_f64().unwrap()
}

/// A fit of eights, without whatever was there before.
fn eights(folder: &Path, changes: &[&str]) -> PathBuf {
    draw("8", "160", "0", &folder.join("eights/good"));
    let bundle = folder.join("bundle");
    done(&mut fit_folder(&folder.join("eights"), &bundle, changes));
    bundle
}

#[test]
fn a_new_kind_of_images_is_normal_after_an_extension() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bundle = eights(folder.path(), &["calibration.neighbours=60"]);
    draw("1", "60", "1000", &at("new"));
    draw("1", "40", "2000", &at("test/good"));
    draw("4", "10", "3000", &at("test/bad"));

    let said = done(&mut extend(&bundle, &at("new"), &at("extended")));
    for part in [
        "60 new images: 30 for the memory bank, 30 to calibrate on",
        "among 50 normal images, 30 of them new",
        "guarantees false-alarm rates from 2 % on",
        "98 more new images for 1 %",
        "the memory bank holds 60 images (it held 60), 30 of them new; 30 gave way at random",
        "version 2",
    ] {
        assert!(said.contains(part), "{part:?} in {said}");
    }
    let extended = Bundle::open(&at("extended")).unwrap();
    let manifest = extended.manifest();
    assert_eq!((manifest.version, manifest.calibration.count), (2, 70));
    assert_eq!(manifest.calibration.ranked(), 50);
    let recorded = &manifest.training["extensions"];
    assert_eq!(
        *recorded,
        serde_json::json!([{ "of_version": 1, "memory_bank": 30, "calibration": 30 }])
    );
    // Those of half of the new images, and of the stored ones that stayed.
    let stored = |bundle: &Bundle, of: &str| {
        let images = (0..1000).filter_map(|image| bundle.names().get(image));
        images.filter(|name| name.contains(of)).count()
    };
    assert_eq!(extended.names().len(), 60);
    assert_eq!(stored(&extended, "strokes-1-"), 30);
    assert_eq!(stored(&extended, "good/strokes-8-"), 30);
    assert_eq!(
        stored(&Bundle::open(&bundle).unwrap(), "good/strokes-8-"),
        60
    );
    // What the model is has not changed.
    for file in ["weights.bin", "posterior.onnx", "images.bin"] {
        let [before, after] = [&bundle, &at("extended")].map(|of| fs::read(of.join(file)).unwrap());
        assert!(before == after, "{file}");
    }

    let before = false_alarms(&bundle, &at("test"));
    let after = false_alarms(&at("extended"), &at("test"));
    assert!(before > 0.9 && after < 0.3, "{before} {after}");

    // The report tests no image that the bundle has seen, and says what the calibration guarantees.
    for name in &names(&at("new"))[..25] {
        let copy = at("test/good").join(format!("copy-{name}"));
        fs::copy(at("new").join(name), copy).unwrap();
    }
    let mut evaluate = trainer(["evaluate", "--normal-classes", "good"]);
    evaluate
        .arg(at("extended"))
        .arg("--data-dir")
        .arg(at("test"));
    let said = done(evaluate.arg("--out").arg(at("report")));
    assert!(said.contains("25 that the fit has seen"), "{said}");
    let report = fs::read(at("report/evaluation.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    assert_eq!(report["images"], 50);
    assert_eq!(report["calibration"]["ranked_images"], 50);
    assert_eq!(report["calibration"]["fewest_images_of_a_fit"]["0.01"], 197);
}

#[test]
fn images_that_the_model_knows_are_left_out_of_extension_and_test() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bundle = eights(folder.path(), &[]);
    // A fifth is for the test, and so is new.
    let said = done(&mut extend(&bundle, &at("eights/good"), &at("out")));
    assert!(said.contains("128 of 160 images are known"), "{said}");
    assert!(said.contains("32 new images"), "{said}");
    let mut evaluate = trainer(["evaluate"]);
    evaluate.arg(at("out")).arg("--data-dir").arg(at("eights"));
    let said = refused(&mut evaluate);
    assert!(said.contains("32 test images are left out"), "{said}");
    let said = refused(&mut extend(&at("out"), &at("eights/good"), &at("again")));
    assert!(said.contains("160 of 160 images are known"), "{said}");
    assert!(said.contains("at least 2 different new images"), "{said}");
}

#[test]
fn what_the_fit_held_out_as_anomalous_is_not_taken_for_normal() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    draw("4", "10", "3000", &at("eights/bad"));
    let bundle = eights(folder.path(), &[]);
    draw("1", "20", "1000", &at("new"));
    for name in &names(&at("eights/bad"))[..3] {
        fs::copy(at("eights/bad").join(name), at("new").join(name)).unwrap();
    }
    let said = refused(&mut extend(&bundle, &at("new"), &at("out")));
    assert!(
        said.contains("3 of 23 images are held out as anomalous by the fit (bad)"),
        "{said}"
    );
    assert!(said.contains("move them out"), "{said}");
    assert!(!at("out").exists());
    let mut as_normal = extend(&bundle, &at("new"), &at("out"));
    done(as_normal.arg("--held-out-are-normal"));
    assert_eq!(fs::read(at("out/extension.bin")).unwrap().len(), 23 * 8);
}

#[test]
fn an_extension_of_an_extension_adds_up() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bundle = eights(folder.path(), &[]);
    draw("1", "10", "1000", &at("first"));
    draw("1", "20", "1000", &at("second"));
    done(&mut extend(&bundle, &at("first"), &at("one")));
    let mut again = extend(&at("one"), &at("second"), &at("two"));
    let said = done(again.args(["--model-version", "9"]));
    assert!(said.contains("10 of 20 images are known"), "{said}");
    let manifest = Bundle::open(&at("two")).unwrap().manifest().clone();
    assert_eq!((manifest.version, manifest.calibration.count), (9, 50));
    assert_eq!(manifest.calibration.ranked(), 30);
    let recorded = manifest.training["extensions"].as_array().unwrap();
    let versions: Vec<_> = recorded.iter().map(|one| &one["of_version"]).collect();
    assert_eq!(versions, [1, 2]);
    // As many digests as images were added.
    assert_eq!(fs::read(at("two/extension.bin")).unwrap().len(), 20 * 8);

    // Calibrating it on the images of the fit would forget the others.
    let mut calibrate = trainer(["calibrate"]);
    calibrate.arg(at("two")).arg("--data-dir").arg(at("eights"));
    let said = refused(calibrate.arg("--out").arg(at("three")));
    assert!(said.contains("calibrate version 1"), "{said}");
}

#[test]
fn what_cannot_be_extended_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bundle = eights(folder.path(), &[]);
    let out = at("out");
    draw("1", "1", "0", &at("new"));
    fs::copy(at("new").join(&names(&at("new"))[0]), at("new/copy.png")).unwrap();
    let said = refused(&mut extend(&bundle, &at("new"), &out));
    assert!(said.contains("at least 2 different new images"), "{said}");
    let said = refused(extend(&bundle, &at("new"), &out).args(["--model-version", "1"]));
    assert!(said.contains("a version above 1"), "{said}");
    let said = refused(&mut extend(&bundle, &at("new"), &bundle));
    assert!(said.contains("holds a bundle already"), "{said}");
    let said = refused(&mut extend(&bundle, &at("nowhere"), &out));
    assert!(said.contains("nowhere"), "{said}");
    assert!(!out.exists());

    let hidden = at("hidden");
    let changes = [
        "learning.incomplete.mask=salt-and-pepper:0.3",
        "model.contrast_norm=0",
    ];
    done(&mut fit_folder(&at("eights"), &hidden, &changes));
    let said = refused(&mut extend(&hidden, &at("new"), &out));
    assert!(said.contains("hid pixels"), "{said}");
}

/// Bars at different places, each in so many files that differ in one pixel.
fn bars(folder: &Path, bars: u32, copies: u32) {
    fs::create_dir_all(folder).unwrap();
    for (bar, copy) in (0..bars).flat_map(|bar| (0..copies).map(move |copy| (bar, copy))) {
        let image = image::GrayImage::from_fn(28, 28, |x, y| {
            let is_bar = (4 * bar..4 * bar + 4).contains(&x) && y >= 4;
            image::Luma([if is_bar {
                255
            } else {
                u8::from((x, y) == (copy, 0))
            }])
        });
        image
            .save(folder.join(format!("bar{bar}-{copy}.png")))
            .unwrap();
    }
}

#[test]
fn near_duplicates_stay_together_where_the_memory_bank_has_no_room_for_all() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let bundle = eights(folder.path(), &[]);
    bars(&at("pairs"), 6, 2);
    // Half of the memory bank may be new images: five would tear a pair.
    let mut extend_to = extend(&bundle, &at("pairs"), &at("extended"));
    let said = done(extend_to.args(["--memory-bank", "11"]));
    let expected = "12 new images: 4 for the memory bank, 8 to calibrate on";
    assert!(said.contains(expected), "{said}");
    let extended = Bundle::open(&at("extended")).unwrap();
    let stored = (0..100).filter_map(|image| extended.names().get(image));
    let mut names: Vec<_> = stored.filter(|name| name.starts_with("bar")).collect();
    names.sort_unstable();
    let (stored, _) = names.as_chunks::<2>();
    assert_eq!(stored.len(), 2, "{stored:?}");
    assert!(
        stored.iter().all(|[one, other]| one[..4] == other[..4]),
        "{stored:?}"
    );

    bars(&at("sixes"), 2, 6);
    let mut extend_to = extend(&bundle, &at("sixes"), &at("small"));
    let said = refused(extend_to.args(["--memory-bank", "11"]));
    assert!(said.contains("--memory-bank"), "{said}");
    assert!(!at("small").exists());
}

/// Cloth twice as coarse as that of a folder.
fn coarser(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in names(from) {
        let image = image::open(from.join(&name)).unwrap().to_luma8();
        let (width, height) = image.dimensions();
        let larger = resize(&image, 2 * width, 2 * height, FilterType::Triangle);
        let middle = crop_imm(&larger, width / 2, height / 2, width, height).to_image();
        middle.save(to.join(&name)).unwrap();
    }
}

#[test]
fn a_new_kind_of_texture_is_normal_after_an_extension() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, count, seed) in [("set", "64", "1"), ("other", "64", "2")] {
        let mut draw = trainer(["draw", "--cloth", "--count", count, "--seed", seed]);
        draw.args(["--cloth-size", "64x64", "--out"]);
        done(draw.arg(at(name)));
    }
    let mut fit = fit_cloth(&at("set"), "orientations", &at("bundle"), &[]);
    let said = done(&mut fit);
    assert!(said.contains("guarantees false-alarm rates from"), "{said}");
    coarser(&at("other/train/good"), &at("new"));
    coarser(&at("other/test/good"), &at("test/good"));
    coarser(&at("other/test/hole"), &at("test/bad"));

    let said = refused(&mut extend(&at("bundle"), &at("other"), &at("out")));
    assert!(said.contains("train/good in it"), "{said}");
    let said = done(&mut extend(&at("bundle"), &at("new"), &at("extended")));
    assert!(
        said.contains("the memory bank holds 300 sites (it held 300)"),
        "{said}"
    );
    assert!(said.contains("gave way, each within"), "{said}");
    let before = false_alarms(&at("bundle"), &at("test"));
    let after = false_alarms(&at("extended"), &at("test"));
    assert!(before > 0.9 && after < 0.4, "{before} {after}");

    let mut larger = extend(&at("bundle"), &at("new"), &at("larger"));
    let said = done(larger.args(["--memory-bank", "100000"]));
    assert!(!said.contains("gave way"), "{said}");
    let named = Bundle::open(&at("larger")).unwrap();
    let named: Vec<_> = (0..1000)
        .filter_map(|image| named.names().get(image))
        .collect();
    let is_new = |name: &&&str| !name.contains('/');
    let new = named.iter().filter(is_new).count();
    // All sites of new images have room, and the stored ones stay.
    assert!(new >= 32 && named.len() > new, "{named:?}");
    let banks = ["bundle", "extended", "larger"].map(|name| {
        let bundle = Bundle::open(&at(name)).unwrap();
        bundle.calibration().sites().unwrap().bank().len()
    });
    assert_eq!(banks[..2], [300, 300]);
    assert!(banks[2] > 300, "{banks:?}");
}
