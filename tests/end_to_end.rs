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

/// The share of a folder's images with the verdict anomalous.
fn flagged(server: &Server, folder: &Path) -> f64 {
    let replies = score(server, folder);
    let anomalous = replies
        .iter()
        .filter(|reply| reply["verdict"] == "anomalous");
    anomalous.count() as f64 / replies.len() as f64
}

#[test]
fn images_of_a_new_kind_are_served_as_normal_after_an_extension() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    for (folder, digit, count, seed) in [
        ("eights/good", "8", "160", "0"),
        ("new", HELD_OUT, "60", "1000"),
        ("shown", HELD_OUT, "40", "2000"),
    ] {
        let mut draw = Command::new(binary("trainer"));
        draw.args(["draw", "--digit", digit, "--count", count, "--seed", seed]);
        succeed(draw.arg("--out").arg(at(folder)));
    }
    let mut fit = Command::new(binary("trainer"));
    fit.args(["fit", "--device", "cpu", "--normal-classes", "good"]);
    for change in [
        "model.latent_dim=4",
        "learning.iterations=20",
        "learning.batch_size=16",
        "learning.langevin.steps=2",
        "inference.steps=2",
        "inference.noise_free_steps=0",
    ] {
        fit.args(["--set", change]);
    }
    fit.arg("--data-dir").arg(at("eights"));
    succeed(fit.arg("--out").arg(at("bundle")));
    let mut extend = Command::new(binary("trainer"));
    extend.arg("extend").arg(at("bundle"));
    extend.arg("--normals").arg(at("new"));
    succeed(extend.arg("--out").arg(at("extended")));

    let [before, after] = ["bundle", "extended"].map(|name| {
        let server = Server::start(&at(name), scratch.path(), &[]);
        flagged(&server, &at("shown"))
    });
    assert!(before > 0.9 && after < 0.3, "{before} {after}");
    // 50 ranked images tell 2 %, 20 do not.
    let server = Server::start(&at("extended"), scratch.path(), &[]);
    names_what_it_remembers(&server, &at("new"), 30);
    names_what_it_remembers(&server, &at("eights/good"), 88);
    let mut strict = Command::new(binary("lfbm"));
    strict.args([
        "--server",
        &server.url,
        "score",
        "--false-alarm-rate",
        "0.02",
    ]);
    succeed(strict.arg(at("shown")));
}

/// Of a folder's images, `stored` are in the memory bank: the nearest one of each of those is itself.
fn names_what_it_remembers(server: &Server, folder: &Path, stored: usize) {
    let out = tempfile::tempdir().unwrap();
    let output = succeed(
        Command::new(binary("lfbm"))
            .args(["--server", &server.url, "explain", "--json", "--out"])
            .arg(out.path())
            .arg(folder),
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let mut itself = [0, 0];
    for line in text.lines() {
        let reply: serde_json::Value = serde_json::from_str(line).unwrap();
        let image = Path::new(reply["image"].as_str().unwrap());
        let nearest = reply["nearest_normals"].as_array().unwrap();
        assert_eq!(nearest.len(), 2, "{reply}");
        for (index, by) in ["pixels", "edges"].into_iter().enumerate() {
            assert_eq!(nearest[index]["by"], by);
            let file = Path::new(nearest[index]["file"].as_str().unwrap());
            itself[index] += usize::from(file.file_name() == image.file_name());
        }
    }
    // But for rounding of what is stored, and images of other folders with the same name.
    for itself in itself {
        assert!(itself >= stored * 9 / 10, "{itself} of {stored}");
    }
}
