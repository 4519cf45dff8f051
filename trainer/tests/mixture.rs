//! A mixture as the base of the flow of a model of pixels, as users of the trainer meet it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;

use lfbm_bundle::Bundle;
use process::{done, fit_strokes, refused, trainer};

/// Fitted to images of which some pixels are hidden. Samples of N(0, I) are none of the mixture, so there are none.
#[test]
fn a_model_of_a_mixture_is_evaluated_and_draws_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (bundle, report) = (folder.path().join("bundle"), folder.path().join("report"));
    let changes = [
        "model.flow_components=3",
        "model.contrast_norm=0",
        "learning.incomplete.mask=salt-and-pepper:0.3",
    ];
    done(&mut fit_strokes(&bundle, &changes));
    assert!(!Bundle::open(&bundle).unwrap().manifest().has_prior_graph());
    done(trainer(["evaluate"]).arg(&bundle).arg("--out").arg(&report));
    let json = fs::read_to_string(report.join("evaluation.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["metrics"]["log_prior"]["auroc"].is_f64(), "{json}");

    let drawn = folder.path().join("drawn");
    let refusal = refused(
        trainer(["draw", "--bundle"])
            .arg(&bundle)
            .arg("--out")
            .arg(drawn),
    );
    assert!(refusal.contains("model.flow_components=0"), "{refusal}");
}
