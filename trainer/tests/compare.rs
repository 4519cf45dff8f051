//! `trainer compare` as its users meet it: a process on small fits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const PLAN: &str = r#"
dataset = "strokes"
holdout = "1"
steps = 5
images = 20
samples = 200
masks = ["region:0.5"]
settings = [
    "model.latent_dim=4",
    "model.contrast_norm=0",
    "model.ebm.sampling.steps=5",
    "learning.iterations=20",
    "learning.batch_size=16",
    "learning.langevin.steps=2",
    "inference.steps=2",
    "inference.noise_free_steps=0",
    "calibration.count=50",
    "calibration.neighbours=500",
]
[[models]]
name = "flow"
settings = []
[[models]]
name = "ebm"
settings = ["model.prior=ebm"]
"#;

fn compare(folder: &Path) -> Output {
    fs::write(folder.join("plan.toml"), PLAN).unwrap();
    Command::new(env!("CARGO_BIN_EXE_trainer"))
        .arg("compare")
        .arg(folder.join("plan.toml"))
        .arg("--out")
        .arg(folder.join("out"))
        .args(["--device", "cpu"])
        .output()
        .unwrap()
}

#[test]
fn a_comparison_does_what_is_left_and_reports_models_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let output = compare(folder.path());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    for bundle in ["flow", "flow-region-0.5", "ebm", "ebm-region-0.5"] {
        assert!(out.join(bundle).join("manifest.json").is_file());
        assert!(errors.contains(&format!("{bundle}: fitting")), "{errors}");
    }
    let text = fs::read(out.join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(report["masks"][0], "region:0.5");
    for (model, name) in ["flow", "ebm"].iter().enumerate() {
        let model = &report["models"][model];
        assert_eq!(model["name"], *name);
        for number in [
            &model["auprc"]["log_joint"],
            &model["reconstruction_mse"],
            &model["recovery_mse"][0],
            &model["frechet"],
            &model["timing"]["epoch_s"],
            &model["timing"]["sample_batch_ms"],
        ] {
            assert!(number.as_f64().unwrap() > 0.0, "{model}");
        }
    }

    // Again, with one result lost: it is made anew, and nothing is fitted or timed.
    fs::remove_file(out.join("ebm.reconstruct.json")).unwrap();
    let output = compare(folder.path());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors.trim(), "ebm: reconstruct");
    assert_eq!(fs::read(out.join("report.json")).unwrap(), text);
    assert!(
        fs::read_to_string(out.join("report.md"))
            .unwrap()
            .contains("flow")
    );
}
