//! `trainer compare` as its users meet it: a process on small fits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;
use std::path::Path;
use std::process::Command;

use process::{done, trainer};
use serde_json::Value;

const PLAN: &str = r#"
dataset = "mnist"
holdout = "1"
seeds = [3]
steps = 5
images = 20
samples = 200
masks = ["region:0.5"]
timing_batch = 24
settings = [
    "model.latent_dim=4",
    "model.contrast_norm=0",
    "learning.iterations=20",
    "learning.batch_size=16",
    "learning.langevin.encoder=false",
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
name = "vae"
settings = ["learning.inference=vae"]
[[models]]
name = "energy"
settings = ["model.prior=ebm", "model.ebm.hidden=8", "model.ebm.sampling.steps=2"]
"#;

/// Whether the comparison succeeds, and what it says on standard error.
fn compare(folder: &Path, plan: &str) -> (bool, String) {
    fs::write(folder.join("plan.toml"), plan).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_trainer"))
        .arg("compare")
        .arg(folder.join("plan.toml"))
        .arg("--out")
        .arg(folder.join("out"))
        .arg("--data-dir")
        .arg(folder.join("digits"))
        .args(["--device", "cpu"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), errors)
}

/// The cells of a row of the report.
fn row(markdown: &str, title: &str) -> Vec<String> {
    let title = format!("| {title} ");
    let line = markdown.lines().find(|line| line.starts_with(&title));
    let line = line.unwrap_or_else(|| panic!("no {title:?}: {markdown}"));
    let cells = line.trim_matches('|').split('|').skip(1);
    cells.map(|cell| cell.trim().to_owned()).collect()
}

#[test]
fn a_comparison_does_what_is_left_and_reports_models_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let mut draw = trainer(["draw", "--idx", "--count", "800", "--out"]);
    done(draw.arg(folder.path().join("digits")));
    let zeros = PLAN.replace("holdout = \"1\"", "holdout = \"01\"");
    let (succeeded, errors) = compare(folder.path(), &zeros);
    assert!(
        !succeeded && errors.contains("no class of mnist"),
        "{errors}"
    );
    assert!(!out.exists(), "{errors}");
    let (succeeded, errors) = compare(folder.path(), PLAN);
    assert!(succeeded, "{errors}");
    for bundle in [
        "flow-seed3",
        "flow-seed3-region-0.5",
        "vae-seed3",
        "vae-seed3-region-0.5",
        "energy-seed3",
        "energy-seed3-region-0.5",
    ] {
        assert!(out.join(bundle).join("manifest.json").is_file());
        assert!(errors.contains(&format!("{bundle}: fitting")), "{errors}");
        assert!(errors.contains(&format!("{bundle}: fid")), "{errors}");
    }
    let json = fs::read(out.join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(
        report["models"],
        serde_json::json!(["flow", "vae", "energy"])
    );
    let fits = report["fits"].as_array().unwrap();
    assert_eq!(fits.len(), 6);
    for fit in fits {
        for number in [&fit["squared_error"], &fit["frechet"]] {
            assert!(number.as_f64().unwrap() > 0.0, "{fit}");
        }
        let whole = fit["mask"].is_null();
        assert_eq!(fit["auprc"]["log_joint"].is_f64(), whole, "{fit}");
        assert_eq!(fit["costs"].is_object(), whole, "{fit}");
        if whole {
            let costs = &fit["costs"];
            assert_eq!(costs["batch"], 24);
            assert!(costs["epoch_s"].as_f64().unwrap() > 0.0, "{costs}");
            assert!(costs["sample_batch_ms"].as_f64().unwrap() > 0.0, "{costs}");
            // 4 -> 256 -> 512 -> 28 x 28, with biases.
            let generator = 5 * 256 + 257 * 512 + 513 * 784;
            assert_eq!(costs["parameters"]["generator"], generator, "{costs}");
            let encoder = &costs["parameters"]["encoder"];
            assert_eq!(encoder.is_u64(), fit["model"] == "vae", "{costs}");
        }
    }
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("One seed."), "{markdown}");
    for title in [
        "recovery, squared error, region:0.5",
        "synthesis, Fréchet distance of edges, learned with region:0.5",
        "seconds an epoch, batches of 24",
        "ms to sample 24 images",
        "parameters, prior",
    ] {
        assert!(row(&markdown, title)[1].ends_with(')'), "{markdown}");
    }
    assert_eq!(row(&markdown, "parameters, encoder")[0], "-");

    // Again, with one result lost: it is made anew, and nothing is fitted or timed.
    fs::remove_file(out.join("vae-seed3.reconstruct-20.json")).unwrap();
    let (succeeded, errors) = compare(folder.path(), PLAN);
    assert!(succeeded, "{errors}");
    assert_eq!(errors.trim(), "vae-seed3: reconstruct");
    assert_eq!(fs::read(out.join("report.json")).unwrap(), json);

    // From results beside the plan: nothing is fitted, and another seed joins them.
    fs::rename(out.join("results.jsonl"), folder.path().join("known.jsonl")).unwrap();
    fs::remove_dir_all(&out).unwrap();
    let kept = format!("results = \"known.jsonl\"\n{PLAN}");
    let (succeeded, errors) = compare(folder.path(), &kept);
    assert!(succeeded, "{errors}");
    assert_eq!(errors, "");
    assert_eq!(fs::read(out.join("report.json")).unwrap(), json);
    let more = kept.replace("seeds = [3]", "seeds = [3, 4]");
    let more = more.replace("[\"region:0.5\"]", "[]");
    let (succeeded, errors) = compare(folder.path(), &more);
    assert!(succeeded, "{errors}");
    assert!(!out.join("flow-seed3").exists() && !errors.contains("timing"));
    assert!(out.join("flow-seed4/manifest.json").is_file(), "{errors}");
    let markdown = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(markdown.contains("over 2 seeds"), "{markdown}");
    let reconstruction = row(&markdown, "reconstruction, squared error");
    assert!(reconstruction.iter().all(|cell| cell.contains(" ±")));

    let other = kept.replace("iterations=20", "iterations=21");
    let (succeeded, errors) = compare(folder.path(), &other);
    assert!(!succeeded);
    for part in ["known.jsonl, line 1", "iterations=20", "iterations=21"] {
        assert!(errors.contains(part), "{errors}");
    }
}
