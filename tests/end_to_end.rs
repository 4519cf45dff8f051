//! The whole path, small: fit on `strokes` for seconds, export, serve, score through a real
//! channel with the real client.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Server, binary};

const HELD_OUT: &str = "1";

fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    output
}

fn score(server: &Server, folder: &Path) -> Vec<serde_json::Value> {
    let output = succeed(
        Command::new(binary("lfbm"))
            .args(["--server", &server.url, "score", "--json"])
            .arg(folder),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn mean_log_joint(replies: &[serde_json::Value]) -> f64 {
    let scores: Vec<f64> = replies
        .iter()
        .map(|reply| reply["log_joint"].as_f64().unwrap())
        .collect();
    scores.iter().sum::<f64>() / scores.len() as f64
}

#[test]
fn fit_export_serve_score() {
    whole_path("langevin");
}

#[test]
fn fit_export_serve_score_with_an_encoder() {
    whole_path("vae");
}

fn whole_path(inference: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let bundle = scratch.path().join("strokes");
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("trainer/configs/strokes.toml");
    succeed(
        Command::new(binary("trainer"))
            .args([
                "fit",
                "--dataset",
                "strokes",
                "--holdout",
                HELD_OUT,
                "--inference",
                inference,
                "--config",
            ])
            .arg(config)
            .arg("--out")
            .arg(&bundle),
    );
    let report = succeed(
        Command::new(binary("trainer"))
            .arg("evaluate")
            .arg(&bundle)
            .arg("--json"),
    );
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    let auprc = report["metrics"]["log_joint"]["auprc"].as_f64().unwrap();
    let chance = report["anomaly_share"].as_f64().unwrap();
    assert!(auprc > 1.5 * chance, "AUPRC {auprc}, chance {chance}");
    let local = report["metrics"]["local_score"]["auprc"].as_f64().unwrap();
    assert!(local > auprc, "local {local}, log joint {auprc}");
    let flagged = report["threshold"]["false_positive_rate"].as_f64().unwrap();
    assert!(flagged < 0.15, "{flagged} of normal images are flagged");
    for file in [
        "curves.svg",
        "histogram.svg",
        "samples.png",
        "reconstructions.png",
        "false_alarms.png",
        "misses.png",
    ] {
        assert!(bundle.join("report").join(file).is_file(), "{file}");
    }
    // Images that the fit did not see: another seed of the generator.
    let images = scratch.path().join("images");
    for digit in ["0", "3", "8", HELD_OUT] {
        succeed(
            Command::new(binary("trainer"))
                .args([
                    "draw", "--digit", digit, "--count", "16", "--seed", "99", "--out",
                ])
                .arg(images.join(digit)),
        );
    }
    let server = Server::start(&bundle, scratch.path(), &[]);
    let held_out = mean_log_joint(&score(&server, &images.join(HELD_OUT)));
    for digit in ["0", "3", "8"] {
        let replies = score(&server, &images.join(digit));
        assert_eq!(replies.len(), 16);
        let known = mean_log_joint(&replies);
        assert!(held_out < known, "{HELD_OUT}: {held_out}, {digit}: {known}");
    }
}
