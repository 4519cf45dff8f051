//! `trainer sweep` and `trainer calibrate` as their users meet them: processes on small fits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::Decision;
use process::{done, trainer};
use tempfile::TempDir;

const PLAN: &str = r#"
dataset = "mnist"
holdouts = ["1", "8"]
seeds = [3]
[settings]
small = [
    "model.latent_dim=4",
    "learning.iterations=20",
    "learning.batch_size=16",
    "learning.langevin.steps=2",
    "inference.steps=2",
    "inference.noise_free_steps=0",
    "calibration.count=50",
]
[published]
"somebody" = { 8 = 0.123 }
"#;

const CURVES: &str = r#"
dataset = "mnist"
holdouts = ["1"]
seeds = [3]
images = 5
samples = 20
[[vary]]
name = "depth"
settings = [
    "model.latent_dim=4",
    "learning.iterations=10",
    "learning.batch_size=16",
    "learning.langevin.steps=2",
    "inference.steps=2",
    "inference.noise_free_steps=0",
    "calibration.count=50",
    "calibration.neighbours=200",
]
along = { setting = "model.flow_steps", values = [1, 2] }
by = { setting = "learning.langevin.step_size", values = [0.05] }
"#;
const MEASURES: &str = "measures = [\"auprc\", \"fid\", \"squared_error\"]\n";

/// A new folder with digits.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut draw = trainer(["draw", "--idx", "--count", "800", "--out"]);
    done(draw.arg(folder.path().join("digits")));
    folder
}

fn sweep(folder: &Path, plan: &str, more: &[&str]) -> Output {
    fs::write(folder.join("plan.toml"), plan).unwrap();
    Command::new(env!("CARGO_BIN_EXE_trainer"))
        .arg("sweep")
        .arg(folder.join("plan.toml"))
        .arg("--out")
        .arg(folder.join("out"))
        .arg("--data-dir")
        .arg(folder.join("digits"))
        .args(["--device", "cpu"])
        .args(more)
        .output()
        .unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_sweep_does_what_is_left_and_no_more() {
    let folder = folder();
    let out = folder.path().join("out");
    // One cell alone, as a job of a cluster would run it.
    let output = sweep(folder.path(), PLAN, &["--cell", "1"]);
    assert!(output.status.success(), "{}", texts(&output).1);
    let first = out.join("small-not8-seed3");
    assert!(first.is_dir() && !out.join("small-not1-seed3").exists());
    let written = fs::metadata(first.join("manifest.json"))
        .unwrap()
        .modified()
        .unwrap();

    let output = sweep(folder.path(), PLAN, &["--jobs", "2"]);
    let (table, errors) = texts(&output);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("small-not8-seed3: finished"), "{errors}");
    assert!(errors.contains("small-not1-seed3: fitting"), "{errors}");
    let again = fs::metadata(first.join("manifest.json"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(written, again);
    assert!(
        table.contains("small: local score") && table.contains("0.123"),
        "{table}"
    );
    let results = fs::read_to_string(out.join("results.jsonl")).unwrap();
    let results: Vec<serde_json::Value> = results
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let holdouts: Vec<_> = results.iter().map(|result| &result["holdout"]).collect();
    assert_eq!(holdouts, ["1", "8"]);
    for result in &results {
        let auprc = &result["evaluation"]["metrics"]["local_score"]["auprc"];
        let shown = format!("{:.3} (1)", auprc.as_f64().unwrap());
        assert!(table.contains(&shown), "{shown}: {table}");
    }

    let output = sweep(folder.path(), PLAN, &["--cell", "2"]);
    assert!(
        texts(&output).1.contains("there are 2"),
        "{}",
        texts(&output).1
    );
    let zeros = PLAN.replace("\"1\", \"8\"", "\"01\"");
    let (_, errors) = texts(&sweep(folder.path(), &zeros, &[]));
    assert!(
        errors.contains("\"01\", which is no class of mnist"),
        "{errors}"
    );
}

#[test]
fn results_beside_the_plan_are_not_computed_again() {
    let folder = folder();
    let output = sweep(folder.path(), PLAN, &["--cell", "1"]);
    assert!(output.status.success(), "{}", texts(&output).1);
    let output = sweep(folder.path(), PLAN, &["--table-only"]);
    let known = folder.path().join("out/results.jsonl");
    fs::rename(&known, folder.path().join("known.jsonl")).unwrap();
    fs::remove_dir_all(folder.path().join("out")).unwrap();
    let (before, _) = texts(&output);
    assert!(before.contains("(1)"), "{before}");

    let plan = format!("results = \"known.jsonl\"\n{PLAN}");
    let output = sweep(folder.path(), &plan, &["--cell", "1"]);
    assert!(texts(&output).1.contains("not8-seed3: known"));
    assert!(!folder.path().join("out/small-not8-seed3").exists());
    let output = sweep(folder.path(), &plan, &["--table-only"]);
    assert_eq!(texts(&output).0, before);
    let written = fs::read(known).unwrap();
    assert_eq!(
        written,
        fs::read(folder.path().join("known.jsonl")).unwrap()
    );

    let other = plan.replace("learning.iterations=20", "learning.iterations=21");
    let output = sweep(folder.path(), &other, &["--table-only"]);
    let (_, errors) = texts(&output);
    assert!(!output.status.success());
    for part in [
        "known.jsonl, line 1",
        "learning.iterations=20",
        "learning.iterations=21",
    ] {
        assert!(errors.contains(part), "{errors}");
    }
}

#[test]
fn what_another_plan_left_behind_is_not_taken_for_this_ones() {
    let folder = folder();
    let output = sweep(folder.path(), PLAN, &["--cell", "1"]);
    assert!(output.status.success(), "{}", texts(&output).1);
    let other = PLAN.replace("learning.iterations=20", "learning.iterations=21");
    let refused = |plan: &str, more: &[&str], expected: &str| {
        let output = sweep(folder.path(), plan, more);
        let (_, errors) = texts(&output);
        assert!(!output.status.success());
        assert!(errors.contains(expected), "{errors}");
    };
    refused(
        &other,
        &["--table-only"],
        "small-not8-seed3.json: remove it",
    );
    fs::remove_file(folder.path().join("out/small-not8-seed3.json")).unwrap();
    refused(
        &other,
        &["--cell", "1"],
        "fitted on other data or with other settings",
    );

    let inside = format!("results = \"out/results.jsonl\"\n{PLAN}");
    fs::write(folder.path().join("out/results.jsonl"), "").unwrap();
    refused(&inside, &["--table-only"], "results.jsonl is in --out");
}

#[test]
fn a_setting_that_varies_has_a_picture() {
    let folder = folder();
    let output = sweep(folder.path(), CURVES, &[]);
    let (table, errors) = texts(&output);
    assert!(output.status.success(), "{errors}");
    let out = folder.path().join("out");
    for depth in [1, 2] {
        let name = format!("depth-{depth}-0.05");
        let manifest = out.join(format!("{name}-not1-seed3")).join("manifest.json");
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
        let text = manifest.to_string();
        assert!(text.contains(&format!("\"flow_steps\":{depth}")), "{text}");
        assert!(table.contains(&name), "{table}");
    }
    let holds = |file: &str, words: &[&str]| {
        let picture = fs::read_to_string(out.join(file)).unwrap();
        for words in words {
            assert!(picture.contains(words), "{words}: {picture}");
        }
    };
    let axes = [
        "model.flow_steps",
        "learning.langevin.step_size = 0.05",
        "without 1",
    ];
    holds("depth.svg", &axes);
    holds("depth.svg", &["AUPRC of the log joint"]);

    // Measures that join later are measured of the same fits.
    let plan = format!("{CURVES}{MEASURES}");
    let output = sweep(folder.path(), &plan, &[]);
    let (table, errors) = texts(&output);
    assert!(output.status.success(), "{errors}");
    assert!(!errors.contains("fitting"), "{errors}");
    assert!(!errors.contains("evaluating"), "{errors}");
    for (file, title) in [
        ("depth-fid.svg", "Fréchet distance of edges"),
        ("depth-squared_error.svg", "squared error of reconstruction"),
    ] {
        holds(file, &axes);
        holds(file, &[title]);
        assert!(table.contains(&format!("| {title} ")), "{table}");
    }
    let results = fs::read_to_string(out.join("results.jsonl")).unwrap();
    for line in results.lines() {
        let result: serde_json::Value = serde_json::from_str(line).unwrap();
        for measure in ["fid", "squared_error"] {
            assert!(
                result["measures"][measure].as_f64().unwrap() > 0.0,
                "{line}"
            );
        }
    }

    // Measures of fewer samples are not those of the plan.
    let fewer = plan.replace("samples = 20", "samples = 10");
    assert_ne!(fewer, plan);
    let (table, errors) = texts(&sweep(folder.path(), &fewer, &["--table-only"]));
    assert!(table.contains("AUPRC"), "{errors}");
    assert!(!table.contains("Fréchet distance"), "{table}");

    // Without one of them a result beside the plan is not enough.
    let known = results.replace("\"fid\"", "\"auprc\"");
    fs::write(folder.path().join("known.jsonl"), known).unwrap();
    let plan = format!("results = \"known.jsonl\"\n{plan}");
    let (_, errors) = texts(&sweep(folder.path(), &plan, &["--table-only"]));
    assert!(
        errors.contains("known.jsonl, line 1: the result has no fid"),
        "{errors}"
    );
}

#[test]
fn a_bundle_is_calibrated_anew_without_fitting() {
    let folder = folder();
    let output = sweep(folder.path(), PLAN, &["--cell", "0"]);
    assert!(output.status.success(), "{}", texts(&output).1);
    let old = folder.path().join("out/small-not1-seed3");
    let new = folder.path().join("new");
    let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .arg("calibrate")
        .arg(&old)
        .arg("--out")
        .arg(&new)
        .arg("--data-dir")
        .arg(folder.path().join("digits"))
        .args(["--set", "calibration.false_positive_rate=0.1"])
        .args(["--set", "calibration.decision=log_joint"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", texts(&output).1);
    let bundle = Bundle::open(&new).unwrap();
    let calibration = &bundle.manifest().calibration;
    assert_eq!(calibration.decision, Decision::LogJoint);
    assert_eq!(calibration.false_positive_rate, 0.1);
    let same = |name: &str| fs::read(old.join(name)).unwrap() == fs::read(new.join(name)).unwrap();
    assert!(same("weights.bin") && same("posterior.onnx"));
}
