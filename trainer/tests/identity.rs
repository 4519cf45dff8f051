//! A model knows the images that it was fitted on: unchanged, changed, and among others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use lfbm_bundle::Bundle;
use process::{done, draw, fit_folder, fit_strokes, names, refused, trainer};
use serde_json::Value;
use tempfile::TempDir;

/// A folder of two classes, and a bundle that was fitted on it.
fn fitted() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    draw("0", "120", "0", &images.join("good"));
    draw("3", "120", "1000", &images.join("good"));
    draw("1", "20", "2000", &images.join("bad"));
    let bundle = folder.path().join("bundle");
    done(&mut fit_folder(&images, &bundle, &[]));
    (folder, images, bundle)
}

fn evaluate(bundle: &Path, images: &Path, more: &[&str]) -> Command {
    let mut command = trainer(["evaluate"]);
    command.arg(bundle).arg("--data-dir").arg(images).args(more);
    command
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Moves files to names in another order.
fn shuffle(folder: &Path) {
    for name in names(folder) {
        let turned: String = name.trim_end_matches(".png").chars().rev().collect();
        fs::rename(folder.join(&name), folder.join(format!("{turned}.png"))).unwrap();
    }
}

#[test]
fn the_same_images_are_split_as_they_were_whatever_their_order() {
    let (_folder, images, bundle) = fitted();
    done(&mut evaluate(&bundle, &images, &[]));
    let before = json(&bundle.join("report/evaluation.json"));
    shuffle(&images.join("good"));
    done(&mut evaluate(&bundle, &images, &[]));
    assert_eq!(json(&bundle.join("report/evaluation.json")), before);

    let csv = fs::read_to_string(bundle.join("report/scores.csv")).unwrap();
    let mut lines = csv.lines();
    assert!(lines.next().unwrap().ends_with(",local_p_value,file"));
    for line in lines {
        let file = line.rsplit(',').next().unwrap();
        let class = line.split(',').nth(1).unwrap();
        assert!(
            images.join(file).is_file() && file.starts_with(class),
            "{line}"
        );
    }
}

#[test]
fn changed_images_are_refused_with_numbers_unless_they_are_meant() {
    let (folder, images, bundle) = fitted();
    done(&mut evaluate(&bundle, &images, &[]));
    let before = fs::read(bundle.join("report/evaluation.json")).unwrap();
    for name in &names(&images.join("good"))[..7] {
        fs::remove_file(images.join("good").join(name)).unwrap();
    }
    draw("8", "30", "3000", &images.join("good"));
    let numbers = "the fit had 260 images, now there are 283: 7 of them are gone or altered, and \
                   30 are new";
    let said = refused(&mut evaluate(&bundle, &images, &[]));
    assert!(
        said.contains(numbers) && said.contains("--changed-data"),
        "{said}"
    );
    for task in ["reconstruct", "inpaint"] {
        let mut command = trainer([task]);
        let said = refused(command.arg(&bundle).arg("--data-dir").arg(&images));
        assert!(said.contains(numbers), "{said}");
    }
    let mut calibrate = trainer(["calibrate"]);
    calibrate
        .arg(&bundle)
        .arg("--out")
        .arg(folder.path().join("new"));
    let said = refused(calibrate.arg("--data-dir").arg(&images));
    assert!(said.contains(numbers), "{said}");
    assert!(!folder.path().join("new").exists());

    // What the fit has not seen is the test: the 48 and 20 that were, as far as they are there, and
    // the new ones.
    done(&mut evaluate(&bundle, &images, &["--changed-data"]));
    assert_eq!(
        fs::read(bundle.join("report/evaluation.json")).unwrap(),
        before
    );
    let report = json(&bundle.join("report/images/evaluation.json"));
    let count = report["images"].as_u64().unwrap();
    assert!((91..=98).contains(&count), "{count}");
}

#[test]
fn whoever_finds_the_images_again_can_leave_out_what_is_damaged_since() {
    let (folder, images, bundle) = fitted();
    fs::write(images.join("good/late.png"), "no image").unwrap();
    let out = folder.path().join("new");
    let commands = [
        vec!["evaluate"],
        vec!["reconstruct", "--count", "8"],
        vec!["inpaint", "--count", "8"],
        vec!["calibrate", "--out", out.to_str().unwrap()],
    ];
    for arguments in commands {
        let command = || {
            let mut command = trainer([arguments[0]]);
            command.arg(&bundle).arg("--data-dir").arg(&images);
            command.args(&arguments[1..]);
            command
        };
        let said = refused(&mut command());
        assert!(
            said.contains("late.png") && said.contains("--skip-damaged"),
            "{said}"
        );
        let said = done(command().arg("--skip-damaged"));
        assert!(said.contains("1 damaged"), "{said}");
    }
}

#[test]
fn a_run_is_resumed_and_exported_on_its_own_images() {
    let (folder, images, _) = fitted();
    let out = folder.path().join("other");
    done(&mut fit_folder(&images, &out, &[]));
    fs::remove_dir_all(&out).unwrap();
    let checkpoint = folder.path().join("other.checkpoint");
    shuffle(&images.join("good"));
    done(fit_folder(&images, &out, &[]).arg("--resume"));

    fs::remove_dir_all(images.join("bad")).unwrap();
    let export = |more: &[&str]| {
        let mut command = trainer(["export"]);
        command
            .arg(&checkpoint)
            .arg("--data-dir")
            .arg(&images)
            .args(more);
        command.arg("--overwrite").arg("--out").arg(&out);
        command
    };
    let said = refused(fit_folder(&images, &out, &[]).args(["--resume", "--overwrite"]));
    assert!(said.contains("20 of them are gone"), "{said}");
    assert!(refused(&mut export(&[])).contains("20 of them are gone"));
    done(&mut export(&["--changed-data"]));
}

#[test]
fn other_images_are_all_tested_but_those_that_the_fit_has_seen() {
    let (folder, images, bundle) = fitted();
    done(&mut evaluate(&bundle, &images, &[]));
    let own = [
        "report/evaluation.json",
        "report/scores.csv",
        "manifest.json",
    ];
    let own = own.map(|file| bundle.join(file));
    let before = own.clone().map(|file| fs::read(file).unwrap());
    let other = folder.path().join("test");
    draw("0", "40", "5000", &other.join("good"));
    draw("1", "15", "6000", &other.join("scratch"));
    // Every image of the fit that it had under this name is among these.
    let mut seen = 0;
    let tested = fs::read_to_string(bundle.join("report/scores.csv")).unwrap();
    for name in &names(&images.join("good"))[..20] {
        seen += usize::from(!tested.contains(&format!("good/{name}")));
        fs::copy(
            images.join("good").join(name),
            other.join("good").join(format!("copy-{name}")),
        )
        .unwrap();
    }
    assert!(seen > 0);
    let said = done(&mut evaluate(&bundle, &other, &[]));
    assert!(
        said.contains(&format!("{seen} that the fit has seen")),
        "{said}"
    );
    let report = json(&bundle.join("report/test/evaluation.json"));
    assert_eq!(report["images"], 40 + 15 + 20 - seen);
    assert_eq!(own.map(|file| fs::read(file).unwrap()), before);

    // The same with the classes the other way round: the calibration does not fit such images.
    let out = folder.path().join("report");
    let more = [
        "--normal-classes",
        "scratch",
        "--out",
        out.to_str().unwrap(),
    ];
    let said = done(&mut evaluate(&bundle, &other, &more));
    assert!(said.contains("the calibration allows 5.0 %"), "{said}");
    assert!(out.join("scores.csv").is_file());
    let said = refused(&mut evaluate(&bundle, &other.join("scratch"), &[]));
    assert!(said.contains("--normal-classes"), "{said}");
}

#[test]
fn images_of_another_kind_calibrate_another_version_or_nothing() {
    let (folder, _, bundle) = fitted();
    let other = folder.path().join("other");
    draw("1", "60", "5000", &other.join("good"));
    let new = folder.path().join("new");
    let calibrate = |more: &[&str]| {
        let mut command = trainer(["calibrate"]);
        command
            .arg(&bundle)
            .arg("--data-dir")
            .arg(&other)
            .args(more);
        command.arg("--out").arg(&new);
        command
    };
    for (more, awaited) in [
        (&[][..], "other images than those of the fit"),
        (&["--changed-data"], "--model-version"),
        (&["--changed-data", "--model-version", "1"], "above 1"),
    ] {
        let said = refused(&mut calibrate(more));
        assert!(said.contains(awaited), "{said}");
        assert!(!new.exists());
    }
    let said = done(&mut calibrate(&["--changed-data", "--model-version", "2"]));
    assert!(said.contains("score unlike those"), "{said}");
    let calibrated = Bundle::open(&new).unwrap();
    let manifest = calibrated.manifest();
    assert_eq!((manifest.version, calibrated.calibration().len()), (2, 60));

    // None of them is a test of that version, but each may calibrate the next one.
    draw("3", "20", "7000", &other.join("bad"));
    let said = refused(&mut evaluate(&new, &other, &[]));
    assert!(said.contains("it has seen the 60 that there are"), "{said}");
    // In place of 25 of them.
    draw("1", "25", "8000", &other.join("good"));
    done(&mut evaluate(
        &new,
        &other,
        &["--out", folder.path().join("report").to_str().unwrap()],
    ));
    let report = json(&folder.path().join("report/evaluation.json"));
    assert_eq!(report["images"], 25 + 20);
    let next = folder.path().join("next");
    let mut again = trainer(["calibrate"]);
    again
        .arg(&new)
        .arg("--data-dir")
        .arg(&other)
        .arg("--out")
        .arg(&next);
    done(again.args(["--changed-data", "--model-version", "3"]));
    assert_eq!(Bundle::open(&next).unwrap().calibration().len(), 60);
}

#[test]
fn images_of_a_calibration_are_not_tested() {
    let (folder, images, bundle) = fitted();
    let out = folder.path().join("calibrated");
    let calibrate = |from: &Path, more: &[&str]| {
        let mut command = trainer(["calibrate"]);
        command.arg(from).arg("--data-dir").arg(&images);
        command.args(more).arg("--out").arg(&out).arg("--overwrite");
        command
    };
    let tested = |bundle: &Path| {
        done(&mut evaluate(bundle, &images, &[]));
        json(&bundle.join("report/evaluation.json"))["images"].clone()
    };
    // 48 are kept out for calibration and 48 for the test, and 20 are bad.
    assert_eq!(tested(&bundle), 48 + 20);
    done(&mut calibrate(&bundle, &["--set", "calibration.count=70"]));
    assert_eq!(tested(&out), 26 + 20);
    let next = folder.path().join("next");
    fs::rename(&out, &next).unwrap();
    // Fewer again: the others are tested.
    done(&mut calibrate(&next, &["--set", "calibration.count=50"]));
    assert_eq!(tested(&out), 46 + 20);
}

#[test]
fn a_calibration_keeps_what_the_fit_chose_and_takes_no_setting_of_the_fit() {
    let (folder, images, _) = fitted();
    let (bundle, out) = (folder.path().join("own"), folder.path().join("calibrated"));
    let chosen = [
        "calibration.names=false",
        "calibration.decision=log_joint",
        "calibration.false_positive_rate=0.1",
        "calibration.neighbours=60",
    ];
    done(&mut fit_folder(&images, &bundle, &chosen));
    let calibrate = |change: &str| {
        let mut command = trainer(["calibrate", "--set", change]);
        command.arg(&bundle).arg("--data-dir").arg(&images);
        command.arg("--out").arg(&out);
        command
    };
    for change in ["inference.steps=3", "model.sigma=1", "seed=7"] {
        let said = refused(&mut calibrate(change));
        assert!(said.contains("only settings of calibration"), "{said}");
    }
    let said = refused(&mut calibrate("calibration.split_seed=7"));
    assert!(
        said.contains("calibration.split_seed has decided"),
        "{said}"
    );
    done(&mut calibrate("calibration.false_positive_rate=0.2"));
    let calibrated = Bundle::open(&out).unwrap();
    let manifest = calibrated.manifest();
    assert_eq!(manifest.calibration.false_positive_rate, 0.2);
    assert_eq!(manifest.calibration.decision.as_str(), "log_joint");
    assert!(calibrated.names().is_empty());
    let before = Bundle::open(&bundle).unwrap();
    let mut expected = before.manifest().training["settings"].clone();
    expected["calibration"]["false_positive_rate"] = 0.2.into();
    assert_eq!(manifest.training["settings"], expected);
    let stored = |bundle: &Bundle| bundle.calibration().local().unwrap().memory_bank().len();
    assert_eq!([stored(&before), stored(&calibrated)], [60, 60]);
}

#[test]
fn features_are_not_made_anew_of_other_images() {
    let (folder, images, _) = fitted();
    let (bundle, checkpoint) = (
        folder.path().join("hog"),
        folder.path().join("hog.checkpoint"),
    );
    let changes = [
        "representation.kind=hog",
        "representation.components=4",
        "export.decoder_iterations=10",
    ];
    done(&mut fit_folder(&images, &bundle, &changes));
    let export = || {
        let mut command = trainer(["export", "--changed-data", "--overwrite"]);
        command.arg(&checkpoint).arg("--data-dir").arg(&images);
        command.arg("--out").arg(&bundle);
        command
    };
    // No bad image was fitted.
    fs::remove_dir_all(images.join("bad")).unwrap();
    done(&mut export());
    // Of 240 good ones all but 96 were.
    for name in &names(&images.join("good"))[..100] {
        fs::remove_file(images.join("good").join(name)).unwrap();
    }
    let said = refused(&mut export());
    assert!(
        said.contains("of the 144 fitted images are gone or altered")
            && said.contains("principal components of hog"),
        "{said}"
    );
}

#[test]
fn a_test_of_normal_images_alone_reports_false_alarms() {
    let (folder, _, bundle) = fitted();
    let other = folder.path().join("line");
    draw("0", "30", "5000", &other.join("good"));
    let out = folder.path().join("report");
    let said = done(&mut evaluate(
        &bundle,
        &other,
        &["--out", out.to_str().unwrap()],
    ));
    assert!(
        said.contains(
            "% of the normal images are called anomalous; how well anomalies are found is not known"
        ),
        "{said}"
    );
    let report = json(&out.join("evaluation.json"));
    assert_eq!(report["images"], 30);
    assert!(report["threshold"]["false_positive_rate"].is_number());
    for nothing in [
        &report["verdict"],
        &report["threshold"]["true_positive_rate"],
    ] {
        assert!(nothing.is_null(), "{report}");
    }
    assert_eq!(report["metrics"], serde_json::json!({}));
    assert!(out.join("histogram.svg").is_file() && out.join("false_alarms.png").is_file());
    assert!(!out.join("curves.svg").exists() && !out.join("misses.png").exists());

    // Anomalous ones alone say nothing.
    fs::rename(other.join("good"), other.join("scratch")).unwrap();
    let said = refused(&mut evaluate(&bundle, &other, &[]));
    assert!(
        said.contains("of the classes scratch none is called normal")
            && said.contains("--normal-classes"),
        "{said}"
    );
}

#[test]
fn without_an_identity_a_calibration_of_another_kind_is_found_by_its_scores() {
    let (folder, images, bundle) = fitted();
    // As bundles are that were written before.
    let manifest = bundle.join("manifest.json");
    let mut text = json(&manifest);
    text["files"].as_object_mut().unwrap().remove("images.bin");
    fs::write(&manifest, text.to_string()).unwrap();
    let other = folder.path().join("other");
    draw("1", "260", "5000", &other.join("good"));
    let calibrate = |images: &Path| {
        let mut command = trainer(["calibrate"]);
        command.arg(&bundle).arg("--data-dir").arg(images);
        command.arg("--out").arg(folder.path().join("new"));
        command
    };
    let said = refused(&mut calibrate(&other));
    assert!(said.contains("Kolmogorov-Smirnov"), "{said}");
    let said = done(&mut calibrate(&images));
    assert!(said.contains("does not say which images"), "{said}");
    assert!(folder.path().join("new/images.bin").is_file());
}

#[test]
fn equal_images_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let [images, copies] = ["images", "copies"].map(|name| folder.path().join(name));
    draw("0", "100", "0", &images.join("good"));
    draw("1", "10", "2000", &images.join("bad"));
    fs::create_dir_all(copies.join("good")).unwrap();
    for name in names(&images.join("good")) {
        for copy in 0..5 {
            let copy = copies.join("good").join(format!("{copy}-{name}"));
            fs::copy(images.join("good").join(&name), copy).unwrap();
        }
    }
    let out = folder.path().join("bundle");
    let said = done(&mut fit_folder(&copies, &out, &[]));
    assert!(
        said.contains("400 of 500 images are equal to others"),
        "{said}"
    );
    assert!(
        said.contains("40 kept out for calibration, 20 for evaluation"),
        "{said}"
    );

    let one = folder.path().join("one");
    fs::create_dir_all(one.join("good")).unwrap();
    for copy in 0..200 {
        let first = names(&images.join("good"))[0].clone();
        let copy = one.join("good").join(format!("{copy}.png"));
        fs::copy(images.join("good").join(first), copy).unwrap();
    }
    let said = refused(&mut fit_folder(&one, &folder.path().join("none"), &[]));
    assert!(said.contains("different normal images"), "{said}");

    // An anomaly that is a normal image as well.
    let first = names(&images.join("good"))[0].clone();
    fs::copy(
        images.join("good").join(&first),
        images.join("bad").join(first),
    )
    .unwrap();
    let said = done(&mut fit_folder(&images, &folder.path().join("both"), &[]));
    assert!(
        said.contains("1 images are in normal and in held-out"),
        "{said}"
    );
}

#[test]
fn counts_are_checked_before_anything_is_learned_and_can_be_changed_after() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("bundle");
    for (changes, awaited) in [
        (
            &["calibration.count=20"][..],
            "calibration.count is 20, expected 40",
        ),
        (
            &[
                "calibration.count=60",
                "calibration.false_positive_rate=0.01",
            ],
            "calibration.count is 60, expected 197",
        ),
        (
            &["calibration.count=2000"],
            "set calibration.count below 278",
        ),
    ] {
        let said = refused(&mut fit_strokes(&out, changes));
        assert!(said.contains(awaited), "{said}");
        assert!(!said.contains("iteration"), "{said}");
    }
    done(&mut fit_strokes(&out, &[]));
    let checkpoint = folder.path().join("bundle.checkpoint");
    let export = |name: &str, change: &str| {
        let mut command = trainer(["export", "--set", change]);
        command
            .arg(&checkpoint)
            .arg("--out")
            .arg(folder.path().join(name));
        command
    };
    done(&mut export("more", "calibration.count=100"));
    let more = Bundle::open(&folder.path().join("more")).unwrap();
    assert_eq!(more.calibration().len(), 100);
    let said = refused(&mut export("most", "calibration.count=300"));
    assert!(said.contains("set calibration.count below"), "{said}");
    let said = refused(&mut export("other", "model.sigma=1"));
    assert!(said.contains("model belongs to the fit"), "{said}");
}
