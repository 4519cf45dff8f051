//! Models of features that are learned on the normal images, as users of the trainer meet them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;
use std::path::Path;
use std::process::Command;

use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::RepresentationKind;
use process::{done, refused, signal, start, trainer, wait_until};

const LEARNS: &str = "learning features of";

fn fit(out: &Path, changes: &[&str]) -> Command {
    fit_of("contrastive", out, changes)
}

fn fit_of(representation: &str, out: &Path, changes: &[&str]) -> Command {
    let mut fit = trainer(["fit", "--device", "cpu", "--dataset", "strokes"]);
    fit.args(["--holdout", "4", "--strokes-count", "1200"]);
    fit.args(["--representation", representation]);
    let small = [
        "calibration.sites=400",
        "representation.contrastive.iterations=60",
        "export.decoder_iterations=10",
    ];
    for change in small.iter().chain(changes) {
        fit.args(["--set", change]);
    }
    fit.arg("--out").arg(out);
    fit
}

#[test]
fn the_density_of_learned_features_detects() {
    let said = it_detects("contrastive", RepresentationKind::Contrastive, 21);
    assert!(said.contains("to the first 21 values"), "{said}");
}

/// Both parts of x have a mixture of their own.
#[test]
fn the_density_of_descriptors_and_learned_features_detects() {
    let said = it_detects("hog_contrastive", RepresentationKind::HogContrastive, 62);
    assert!(
        said.contains("to the first 41, and one to the next 21 values"),
        "{said}"
    );
}

/// Digits that are drawn, one class held out: the density of x, of so many values, tells most of its images from the
/// others. The checkpoint has the network, so export does not learn it again, and writes the same bundle. Returns what
/// the fit said.
fn it_detects(representation: &str, kind: RepresentationKind, values: usize) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let bundle = path("bundle");
    let changes = ["learning.iterations=150"];
    let fit_said = done(&mut fit_of(representation, &bundle, &changes));
    assert!(fit_said.contains(LEARNS), "{fit_said}");
    let loaded = Bundle::open(&bundle).unwrap();
    let representation = &loaded.manifest().representation;
    assert_eq!(representation.kind, kind);
    assert_eq!((representation.sites(), representation.values), (1, values));
    let flow = fs::read(bundle.join("flow.onnx")).unwrap();
    let mixtures = (0..).take_while(|index| {
        let name = match index {
            0 => "flow.base.peaks".to_owned(),
            copy => format!("flow.base.peaks.{copy}"),
        };
        flow.windows(name.len())
            .any(|bytes| bytes == name.as_bytes())
    });
    let parts = 1 + usize::from(kind == RepresentationKind::HogContrastive);
    assert_eq!(mixtures.count(), parts);

    let mut export = trainer(["export"]);
    export.arg(path("bundle.checkpoint"));
    let said = done(export.arg("--out").arg(path("exported")));
    assert!(!said.contains(LEARNS), "{said}");
    assert_equal(&bundle, &path("exported"));

    let report = path("report");
    done(trainer(["evaluate"]).arg(&bundle).arg("--out").arg(&report));
    let json = fs::read_to_string(report.join("evaluation.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for score in ["log_joint", "site_score", "site_distance"] {
        let auroc = json["metrics"][score]["auroc"].as_f64().unwrap();
        assert!(auroc > 0.7, "{score}: {auroc}");
    }
    fit_said
}

/// The checkpoint is there as soon as the features are learned, before the first iteration of the model.
#[test]
fn a_fit_that_was_stopped_goes_on_with_what_it_had_learned() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let changes = ["learning.iterations=400"];
    done(&mut fit(&whole, &changes));

    let mut process = start(&mut fit(&broken, &changes));
    let checkpoint = folder.path().join("broken.checkpoint");
    wait_until("a checkpoint", || checkpoint.is_file());
    signal(&process, "INT");
    assert_eq!(process.wait().unwrap().code(), Some(130));
    assert!(!broken.exists(), "a stopped fit wrote a bundle");

    let mut other = fit(&broken, &["learning.iterations=401"]);
    let said = refused(other.arg("--resume"));
    assert!(
        said.contains(
            "other data, classes or settings: learning.iterations is 401 now, and 400 there"
        ),
        "{said}"
    );
    assert!(!said.contains(LEARNS), "{said}");
    let said = done(fit(&broken, &changes).arg("--resume"));
    assert!(said.contains("resumed at iteration"), "{said}");
    assert!(!said.contains(LEARNS), "{said}");
    assert_equal(&whole, &broken);
}

fn assert_equal(left: &Path, right: &Path) {
    for file in [
        "preprocess.onnx",
        "weights.bin",
        "flow.onnx",
        "calibration.bin",
    ] {
        let [left, right] = [left, right].map(|folder| fs::read(folder.join(file)).unwrap());
        assert!(left == right, "{file}");
    }
}

#[test]
fn settings_that_cannot_be_learned_with_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (change, named) in [
        (
            "representation.contrastive.batch_size=1",
            "batch_size is 1, expected a number from 2 to 8192",
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
        // Before the features are learned.
        ("learning.batch_size=5000", "learning.batch_size is 5000"),
    ] {
        let refusal = refused(&mut fit(&folder.path().join("bundle"), &[change]));
        assert!(refusal.contains(named), "{change}: {refusal}");
        assert!(!refusal.contains(LEARNS), "{change}: {refusal}");
    }
}
