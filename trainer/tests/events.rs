//! Event files of `trainer fit --tensorboard`, as TensorBoard reads them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use process::{done, fit_cloth, fit_strokes, names, refused, signal, start, trainer, wait_until};
use serde_json::Value;

/// What TensorBoard reads in a folder.
fn read(folder: &Path) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("../third_party/python");
    assert!(
        packages.join("tensorboard").is_dir(),
        "the Python packages are missing: run `make python`"
    );
    let output = Command::new("python3")
        .arg(root.join("tests/events.py"))
        .arg(folder)
        .env("PYTHONPATH", packages)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn steps(points: &Value) -> Vec<u64> {
    let points = points.as_array().unwrap().iter();
    points.map(|point| point[0].as_u64().unwrap()).collect()
}

/// The last value of a curve.
fn last(points: &Value) -> f64 {
    points.as_array().unwrap().last().unwrap()[1]
        .as_f64()
        .unwrap()
}

fn weights(bundle: &Path) -> Vec<u8> {
    std::fs::read(bundle.join("weights.bin")).unwrap()
}

/// Points on each curve of the only event file of a folder.
fn points(events: &Path) -> usize {
    let [name] = &names(events)[..] else {
        return 0;
    };
    let bytes = std::fs::read(events.join(name)).unwrap();
    let tag = b"speed/images_per_s";
    bytes.windows(tag.len()).filter(|part| part == tag).count()
}

#[test]
fn tensorboard_shows_a_fit_which_is_the_same_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let [plain, shown, events] = ["plain", "shown", "events"].map(|name| folder.path().join(name));
    let changes = ["run.checkpoint_every=10", "run.log_every=1"];
    done(&mut fit_strokes(&plain, &changes));
    assert_eq!(names(folder.path()), ["plain", "plain.checkpoint"]);
    let said = done(
        fit_strokes(&shown, &changes)
            .arg("--tensorboard")
            .arg(&events),
    );
    assert_eq!(weights(&shown), weights(&plain));
    assert_eq!(names(&events).len(), 1);

    let read = read(&events);
    let scalars = &read["scalars"];
    for name in ["error", "-log p(z)"] {
        for kind in ["loss", "gradient_norm"] {
            assert_eq!(steps(&scalars[format!("{kind}/{name}")]), [10, 20]);
        }
    }
    // The same number as in the log.
    let line = said.lines().find(|line| line.contains("iteration 20/20"));
    let error = last(&scalars["loss/error"]);
    assert!(
        line.unwrap().contains(&format!("error {error:.2} ")),
        "{line:?}, {error}"
    );
    assert!(last(&scalars["speed/images_per_s"]) > 0.0);
    let manifest = std::fs::read(shown.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let sigma = manifest["sigma"].as_f64().unwrap();
    assert!((last(&scalars["model/sigma"]) - sigma).abs() < 1e-6);
    let threshold = manifest["calibration"]["threshold_local_score"].as_f64();
    let difference = last(&scalars["calibration/threshold/local"]) - threshold.unwrap();
    assert!(difference.abs() < 1e-4, "{difference}");
    let pictures = &read["images"]["reconstructions"];
    assert_eq!(steps(pictures), [10, 20]);
    // Eight columns and three rows of 28 x 28 pixels three times as large, with gaps of four.
    assert_eq!(pictures[0][1], 8 * (3 * 28 + 4) + 4);
    assert_eq!(pictures[0][2], 3 * (3 * 28 + 4) + 4);
}

#[test]
fn a_fit_that_was_killed_goes_on_with_curves_that_do_not_turn_back() {
    let folder = tempfile::tempdir().unwrap();
    let [out, events] = ["out", "events"].map(|name| folder.path().join(name));
    let fit = || {
        let changes = ["learning.iterations=600", "run.checkpoint_every=200"];
        let mut fit = fit_strokes(&out, &changes);
        fit.arg("--tensorboard").arg(&events);
        fit
    };
    let mut process = start(&mut fit());
    let checkpoint = folder.path().join("out.checkpoint");
    // With points on its curves that are later than the checkpoint: those go, and that of its iteration stays.
    wait_until("a checkpoint and more", || {
        checkpoint.is_file() && points(&events) >= 25
    });
    signal(&process, "KILL");
    assert!(!process.wait().unwrap().success());
    done(fit().arg("--resume"));
    assert_eq!(names(&events).len(), 2);
    let read = read(&events);
    let expected: Vec<u64> = (1..=60).map(|point| 10 * point).collect();
    assert_eq!(steps(&read["scalars"]["loss/error"]), expected);
}

#[test]
fn sites_have_curves_and_no_picture_and_a_bad_place_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let [set, out, events] = ["set", "out", "events"].map(|name| folder.path().join(name));
    let draw = ["draw", "--cloth", "--count", "40", "--cloth-size", "64x64"];
    done(trainer(draw).arg("--out").arg(&set));
    let fit = |events: &Path| {
        let mut fit = fit_cloth(&set, "orientations", &out, &[]);
        fit.arg("--tensorboard").arg(events);
        fit
    };
    let link = folder.path().join("link");
    symlink(folder.path(), &link).unwrap();
    for inside in [&out, &link.join("out"), &folder.path().join("set/../out")] {
        let said = refused(&mut fit(&inside.join("events")));
        assert!(said.contains("--tensorboard"), "{said}");
        assert!(said.contains("where the bundle comes to"), "{said}");
        assert!(!said.contains("principal components"), "{said}");
    }
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = refused(&mut fit(&file));
    assert!(said.contains("file cannot be written to"), "{said}");
    assert!(!said.contains("principal components"), "{said}");
    assert!(!out.exists());

    done(fit(&events).args(["--overwrite"]));
    let read = read(&events);
    assert_eq!(steps(&read["scalars"]["loss/error"]), [10, 20, 30, 40]);
    assert_eq!(read["images"], serde_json::json!({}));
}
