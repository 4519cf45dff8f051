//! Models of HOG descriptors, as users of the trainer meet them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;

use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::RepresentationKind;
use process::{done, refused, trainer};

/// Digits that are drawn, one class held out: the density of descriptors tells most of its images from the
/// others, and the report has it beside the score that compares with stored descriptors.
#[test]
fn the_density_of_descriptors_detects() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, report) = (folder.path().join("bundle"), folder.path().join("report"));
    let mut fit = trainer([
        "fit",
        "--device",
        "cpu",
        "--dataset",
        "strokes",
        "--holdout",
        "4",
    ]);
    fit.args(["--strokes-count", "1500", "--representation", "hog"]);
    for change in ["learning.iterations=150", "calibration.sites=400"] {
        fit.args(["--set", change]);
    }
    done(fit.arg("--out").arg(&bundle));
    let loaded = Bundle::open(&bundle).unwrap();
    let representation = &loaded.manifest().representation;
    assert_eq!(representation.kind, RepresentationKind::Hog);
    assert_eq!((representation.sites(), representation.values), (1, 40));

    // The mixture is no part of a checkpoint: it is fitted again, on the same device to the same latents.
    let (checkpoint, exported) = (
        folder.path().join("bundle.checkpoint"),
        folder.path().join("exported"),
    );
    let mut export = trainer(["export"]);
    done(export.arg(checkpoint).arg("--out").arg(&exported));
    for file in ["weights.bin", "flow.onnx", "calibration.bin"] {
        let [fitted, exported] =
            [&bundle, &exported].map(|folder| fs::read(folder.join(file)).unwrap());
        assert!(fitted == exported, "{file}");
    }

    let mut evaluate = trainer(["evaluate"]);
    done(evaluate.arg(&bundle).arg("--out").arg(&report));
    let json = fs::read_to_string(report.join("evaluation.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for score in ["log_joint", "site_score", "site_distance"] {
        let auroc = json["metrics"][score]["auroc"].as_f64().unwrap();
        assert!(auroc > 0.7, "{score}: {auroc}");
    }

    let mut draw = trainer(["draw", "--bundle"]);
    let draw = draw
        .arg(&bundle)
        .arg("--out")
        .arg(folder.path().join("drawn"));
    let refusal = refused(draw);
    assert!(refusal.contains("--representation pixels"), "{refusal}");
}
