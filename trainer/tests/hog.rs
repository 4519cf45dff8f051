//! Models of HOG descriptors, as users of the trainer meet them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::fs;

use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::RepresentationKind;
use lfbm_model::pixels::from_x;
use lfbm_runtime::{Decoder, Inference, Runtime, SCORE_SEED, SessionOptions};
use lfbm_trainer::data::strokes;
use process::{done, refused, trainer};

/// The squared error of what the decoder makes of the latents of drawn digits that the fit did not see, relative to that
/// of their mean.
fn decoded_error(bundle: &Bundle) -> f32 {
    let (runtime, options) = (Runtime::load(None).unwrap(), SessionOptions::default());
    let (dir, manifest) = (bundle.dir(), bundle.manifest());
    let digits = strokes::dataset(200, 77);
    let normal: Vec<_> = (0..digits.len())
        .filter(|&index| digits.labels[index] != 4)
        .collect();
    let images = digits.gather(&normal);
    let mut inference = Inference::open(&runtime, dir, manifest, &options).unwrap();
    let x = inference.preprocess(&images).unwrap();
    let scores = inference.score(&x, &manifest.langevin, SCORE_SEED, &mut |_| ());
    let z: Vec<f32> = scores
        .unwrap()
        .into_iter()
        .flat_map(|score| score.z)
        .collect();
    let mut decoded = vec![0.0; images.len()];
    let mut decoder = Decoder::open(&runtime, dir, manifest, &options).unwrap();
    decoder.run(normal.len(), &z, &mut decoded).unwrap();
    let made = from_x(&decoded, &manifest.image, None);
    let error = |made: &dyn Fn(usize) -> f32| -> f32 {
        let images = images.iter().enumerate();
        images
            .map(|(index, value)| (value - made(index)).powi(2))
            .sum()
    };
    let pixels = manifest.image.pixels();
    let mean: Vec<f32> = (0..pixels)
        .map(|at| images.iter().skip(at).step_by(pixels).sum::<f32>() / normal.len() as f32)
        .collect();
    error(&|index| made[index]) / error(&|index| mean[index % pixels])
}

/// The last values of x of drawn digits that the fit did not see.
fn residuals(bundle: &Bundle) -> Vec<f32> {
    let (runtime, options) = (Runtime::load(None).unwrap(), SessionOptions::default());
    let (dir, manifest) = (bundle.dir(), bundle.manifest());
    let digits = strokes::dataset(300, 78);
    let normal: Vec<_> = (0..digits.len())
        .filter(|&index| digits.labels[index] != 4)
        .collect();
    let mut inference = Inference::open(&runtime, dir, manifest, &options).unwrap();
    let x = inference.preprocess(&digits.gather(&normal)).unwrap();
    let values = manifest.representation.values;
    x.chunks(values).map(|x| x[values - 1]).collect()
}

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
    for change in [
        "learning.iterations=150",
        "calibration.sites=400",
        "export.decoder_iterations=300",
    ] {
        fit.args(["--set", change]);
    }
    done(fit.arg("--out").arg(&bundle));
    let loaded = Bundle::open(&bundle).unwrap();
    let representation = &loaded.manifest().representation;
    assert_eq!(representation.kind, RepresentationKind::Hog);
    assert_eq!((representation.sites(), representation.values), (1, 41));

    // The bundle's graph makes the residual that the trainer scaled, of images that no component is made of.
    let residuals = residuals(&loaded);
    let mean = residuals.iter().sum::<f32>() / residuals.len() as f32;
    let square = |value: &f32| (value - mean).powi(2);
    let deviation = (residuals.iter().map(square).sum::<f32>() / residuals.len() as f32).sqrt();
    assert!(mean.abs() < 0.5, "{mean}");
    assert!((0.25..1.0).contains(&deviation), "{deviation}");

    // The mixture is no part of a checkpoint: it is fitted again, on the same device to the same latents.
    let (checkpoint, exported) = (
        folder.path().join("bundle.checkpoint"),
        folder.path().join("exported"),
    );
    let mut export = trainer(["export"]);
    done(export.arg(checkpoint).arg("--out").arg(&exported));
    for file in [
        "weights.bin",
        "flow.onnx",
        "decoder.onnx",
        "calibration.bin",
    ] {
        let [fitted, exported] =
            [&bundle, &exported].map(|folder| fs::read(folder.join(file)).unwrap());
        assert!(fitted == exported, "{file}");
    }

    assert!(decoded_error(&loaded) < 0.5);

    let mut evaluate = trainer(["evaluate"]);
    done(evaluate.arg(&bundle).arg("--out").arg(&report));
    let json = fs::read_to_string(report.join("evaluation.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for score in ["log_joint", "site_score", "site_distance"] {
        let auroc = json["metrics"][score]["auroc"].as_f64().unwrap();
        assert!(auroc > 0.7, "{score}: {auroc}");
    }

    assert!(report.join("reconstructions.png").exists() && !report.join("maps.png").exists());
    let out = folder.path().join("reconstructed");
    let mut reconstruct = trainer(["reconstruct", "--count", "50"]);
    done(reconstruct.arg(&bundle).arg("--out").arg(&out));
    assert!(out.join("reconstruct.json").exists());

    let mut draw = trainer(["draw", "--bundle"]);
    let draw = draw
        .arg(&bundle)
        .arg("--out")
        .arg(folder.path().join("drawn"));
    let refusal = refused(draw);
    assert!(refusal.contains("--representation pixels"), "{refusal}");
}
