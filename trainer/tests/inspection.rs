//! Data sets in the layout of MVTec AD: fit, report, and lists that keep near-duplicates together.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;
use std::path::Path;

use lfbm_bundle::Bundle;
use process::{done, draw, refused, trainer};

/// Digits: eights are good, fours are broken. Those of the test repeat ten of the fit.
fn set(root: &Path) {
    draw("8", "110", "1", &root.join("train/good"));
    draw("8", "10", "500", &root.join("test/good"));
    draw("4", "6", "1", &root.join("test/broken"));
}

fn fit(root: &Path, out: &Path) -> std::process::Command {
    let mut command = trainer(["fit", "--device", "cpu", "--image-size", "28"]);
    command.arg("--data-dir").arg(root).arg("--out").arg(out);
    for change in [
        "model.latent_dim=4",
        "learning.iterations=20",
        "learning.batch_size=16",
        "learning.langevin.steps=2",
        "inference.steps=2",
        "inference.noise_free_steps=0",
    ] {
        command.args(["--set", change]);
    }
    command
}

#[test]
fn the_layout_is_the_split_of_fit_and_report() {
    let folder = tempfile::tempdir().unwrap();
    let (root, out) = (folder.path().join("set"), folder.path().join("bundle"));
    set(&root);
    let said = done(&mut fit(&root, &out));
    assert!(said.contains("fitting 70 images of good"), "{said}");
    assert!(
        said.contains("40 kept out for calibration, 16 for evaluation"),
        "{said}"
    );
    let bundle = Bundle::open(&out).unwrap();
    assert_eq!(bundle.manifest().classes.normal, ["good"]);
    assert_eq!(bundle.manifest().classes.held_out, ["broken"]);

    let mut evaluate = trainer(["evaluate"]);
    let said = done(evaluate.arg(&out).arg("--data-dir").arg(&root));
    assert!(
        said.contains("scoring 16 images, 6 of them anomalous"),
        "{said}"
    );
    let scores = fs::read_to_string(out.join("report/scores.csv")).unwrap();
    let of = |folder: &str| scores.lines().filter(|line| line.contains(folder)).count();
    let counts = ["test/good/", "test/broken/", "train/"].map(of);
    assert_eq!(counts, [10, 6, 0]);
}

#[test]
fn masks_are_counted_and_what_is_wrong_with_them_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (root, out) = (folder.path().join("set"), folder.path().join("bundle"));
    set(&root);
    let masks = root.join("ground_truth/broken");
    fs::create_dir_all(&masks).unwrap();
    let mask = |name: &str, value: u8| {
        let mask = image::GrayImage::from_pixel(28, 28, image::Luma([value]));
        mask.save(masks.join(name)).unwrap();
    };
    // Of six faulty images.
    mask("strokes-4-0_mask.png", 255);
    mask("strokes-4-1.png", 1);
    mask("strokes-4-2.png", 0);
    mask("strangers.png", 255);
    let told = [
        "2 of 6 faulty images have a mask; 1 masks are of no image",
        "1 masks of faulty images are black",
        "broken/strokes-4-2.png",
    ];
    let said = done(&mut fit(&root, &out));
    let mut evaluate = trainer(["evaluate"]);
    let report = done(evaluate.arg(&out).arg("--data-dir").arg(&root));
    for part in told {
        assert!(said.contains(part), "{part:?} in {said}");
        assert!(report.contains(part), "{part:?} in {report}");
    }
    let json = fs::read_to_string(out.join("report/evaluation.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["masks"], 2);
}

#[test]
fn what_is_missing_is_told_before_the_fit() {
    let folder = tempfile::tempdir().unwrap();
    let (root, out) = (folder.path().join("set"), folder.path().join("bundle"));
    set(&root);
    let list = folder.path().join("list.txt");
    fs::write(&list, "strangers.png\n").unwrap();
    let said = refused(fit(&root, &out).arg("--test-list").arg(&list));
    assert!(said.contains("strangers.png"), "{said}");
    let said = refused(&mut fit(&root.join("test"), &out));
    assert!(said.contains("--normal-classes or --holdout"), "{said}");
    assert!(!out.exists());
}

#[test]
fn a_leak_is_told_and_a_written_list_keeps_duplicates_together() {
    let folder = tempfile::tempdir().unwrap();
    let (root, out) = (folder.path().join("set"), folder.path().join("bundle"));
    set(&root);
    for file in fs::read_dir(root.join("test/good")).unwrap() {
        fs::remove_file(file.unwrap().path()).unwrap();
    }
    // The same digits as in train, a little brighter.
    for index in 0..10 {
        let name = format!("strokes-8-{index}.png");
        let mut image = image::open(root.join("train/good").join(&name))
            .unwrap()
            .to_luma8();
        image
            .pixels_mut()
            .for_each(|pixel| pixel.0[0] = pixel.0[0] / 2 + 9);
        image
            .save(root.join("test/good").join(format!("again-{index}.png")))
            .unwrap();
    }
    let said = done(&mut fit(&root, &out));
    assert!(
        said.contains("the test may leak") && said.contains("trainer split"),
        "{said}"
    );

    let list = folder.path().join("list.txt");
    let mut split = trainer(["split"]);
    split.arg(&root).arg("--out").arg(&list);
    let said = done(&mut split);
    assert!(said.contains("of 120 normal images"), "{said}");
    let text = fs::read_to_string(&list).unwrap();
    let names: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(!names.is_empty() && names.len() <= 10, "{text}");
    for index in 0..10 {
        let pair = [
            format!("train/good/strokes-8-{index}.png"),
            format!("test/good/again-{index}.png"),
        ];
        let [original, again] = pair.map(|name| names.contains(&name.as_str()));
        assert_eq!(original, again, "{index} in {text}");
    }
    let said = refused(&mut split);
    assert!(said.contains("--overwrite"), "{said}");
    let said = done(
        fit(&root, &out)
            .arg("--overwrite")
            .arg("--test-list")
            .arg(&list),
    );
    assert!(!said.contains("the test may leak"), "{said}");
}
