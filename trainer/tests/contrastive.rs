//! Models of features that are learned on the normal images, as users of the trainer meet them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;
use std::path::Path;

use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::RepresentationKind;
use process::{done, refused, trainer};

const BUNDLE_FILES: [&str; 4] = [
    "preprocess.onnx",
    "weights.bin",
    "flow.onnx",
    "calibration.bin",
];

fn fit(out: &Path, changes: &[&str]) -> std::process::Command {
    let mut fit = trainer(["fit", "--device", "cpu", "--dataset", "strokes"]);
    fit.args(["--holdout", "4", "--strokes-count", "1200"]);
    fit.args([
        "--representation",
        "contrastive",
        "--set",
        "calibration.sites=400",
    ]);
    fit.args(["--set", "representation.contrastive.iterations=60"]);
    for change in changes {
        fit.args(["--set", change]);
    }
    fit.arg("--out").arg(out);
    fit
}

/// Digits that are drawn, one class held out: the density of learned features tells most of its images from
/// the others. A checkpoint has the network that was learned, so export writes the same bundle, and the same
/// fit from its checkpoint goes on with it.
#[test]
fn the_density_of_learned_features_detects() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let bundle = path("bundle");
    done(&mut fit(&bundle, &["learning.iterations=150"]));
    let loaded = Bundle::open(&bundle).unwrap();
    let representation = &loaded.manifest().representation;
    assert_eq!(representation.kind, RepresentationKind::Contrastive);
    assert_eq!((representation.sites(), representation.values), (1, 20));

    let checkpoint = path("bundle.checkpoint");
    let exported = path("exported");
    done(
        trainer(["export"])
            .arg(&checkpoint)
            .arg("--out")
            .arg(&exported),
    );
    let resumed = path("resumed");
    let mut again = fit(&resumed, &["learning.iterations=150"]);
    done(again.arg("--resume").arg("--checkpoint").arg(&checkpoint));
    for file in BUNDLE_FILES {
        let [fitted, exported, resumed] =
            [&bundle, &exported, &resumed].map(|folder| fs::read(folder.join(file)).unwrap());
        assert!(fitted == exported && fitted == resumed, "{file}");
    }

    let report = path("report");
    done(trainer(["evaluate"]).arg(&bundle).arg("--out").arg(&report));
    let json = fs::read_to_string(report.join("evaluation.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for score in ["log_joint", "site_score", "site_distance"] {
        let auroc = json["metrics"][score]["auroc"].as_f64().unwrap();
        assert!(auroc > 0.7, "{score}: {auroc}");
    }
}

#[test]
fn settings_that_cannot_be_learned_with_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (change, named) in [
        (
            "representation.contrastive.batch_size=1",
            "batch_size is 1, expected 2 to 8192",
        ),
        (
            "representation.contrastive.temperature=0",
            "contrastive.temperature",
        ),
        (
            "representation.contrastive.iterations=0",
            "contrastive.iterations",
        ),
        ("representation.contrastive.batch=3", "batch"),
    ] {
        let refusal = refused(&mut fit(&folder.path().join("bundle"), &[change]));
        assert!(refusal.contains(named), "{change}: {refusal}");
    }
}
