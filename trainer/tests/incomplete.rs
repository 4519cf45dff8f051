//! Learning from incomplete images, and completing them: what is hidden has no say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod process;

use std::path::Path;
use std::process::{Command, Output};

use lfbm_bundle::manifest::Langevin;
use lfbm_model::GeneratorName;
use lfbm_runtime::{Inference, Runtime, SessionOptions};
use lfbm_testkit::{random_bundle, random_images};
use lfbm_trainer::data::{Dataset, Mask, strokes};
use lfbm_trainer::fit::{Learner, LearnerState};
use lfbm_trainer::model::Observation;
use lfbm_trainer::settings::Settings;
use lfbm_trainer::tasks::complete;
use process::names;
use serde_json::Value;
use tch::{Device, Kind, Tensor};

fn intensities(dataset: &Dataset) -> Vec<f32> {
    dataset.gather(&(0..dataset.len()).collect::<Vec<_>>())
}

fn masks(dataset: &Dataset) -> Vec<f32> {
    let mask: Mask = "salt-and-pepper:0.5".parse().unwrap();
    dataset.masks(mask, 5, &(0..dataset.len()).collect::<Vec<_>>())
}

fn learned(prior: &str, inference: &str, x: &[f32], mask: Option<&[f32]>) -> LearnerState {
    let changes = [
        format!("model.prior={prior}"),
        format!("learning.inference={inference}"),
        "model.contrast_norm=0".to_owned(),
        "learning.langevin.steps=5".to_owned(),
        "model.ebm.sampling.steps=5".to_owned(),
    ];
    let settings = Settings::load(None, &changes).unwrap();
    let image = settings.image(&strokes::dataset(1, 0));
    let mut learner = Learner::new(
        &settings.architecture(image.shape()),
        &settings.inference(image.shape()),
        settings.learning(),
        settings.seed,
        Device::Cpu,
    )
    .unwrap();
    let tensor = |values: &[f32]| Tensor::from_slice(values).view([-1, 1, 28, 28]);
    for _ in 0..3 {
        let seen = Observation {
            x: tensor(x) * 2.0 - 1.0,
            mask: mask.map(tensor),
        };
        assert!(learner.iterate(&seen).are_finite());
    }
    learner.state()
}

fn assert_same(what: &str, one: &LearnerState, other: &LearnerState, same: bool) {
    let pairs = one.tensors.iter().zip(&other.tensors);
    let distance = pairs.map(|((name, a), (other, b))| {
        assert_eq!(name, other);
        (a - b).abs().max().to_kind(Kind::Double).double_value(&[])
    });
    let distance = distance.fold(0.0, f64::max);
    assert_eq!(distance == 0.0, same, "{what}: {distance}");
}

#[test]
fn every_model_learns_from_visible_pixels_alone() {
    let dataset = strokes::dataset(16, 3);
    let (x, mask) = (intensities(&dataset), masks(&dataset));
    let changed: Vec<f32> = (x.iter().zip(&mask))
        .map(|(x, visible)| x * visible + 0.7 * (1.0 - visible))
        .collect();
    assert_ne!(x, changed);
    let ones = vec![1.0; mask.len()];
    for (prior, inference) in [
        ("flow", "langevin"),
        ("ebm", "langevin"),
        ("gaussian", "langevin"),
        ("flow", "vae"),
    ] {
        let learned = |x: &[f32], mask| learned(prior, inference, x, mask);
        let what = format!("{prior}, {inference}");
        let whole = learned(&x, None);
        assert_same(&what, &whole, &learned(&x, Some(&ones)), true);
        let incomplete = learned(&x, Some(&mask));
        assert_same(&what, &incomplete, &learned(&changed, Some(&mask)), true);
        assert_same(&what, &incomplete, &whole, false);
    }
}

#[test]
fn completions_come_from_visible_pixels_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle");
    let runtime = Runtime::load(None).unwrap();
    let bundle = random_bundle(&path, &runtime, GeneratorName::Mlp, 4, 1, 1).unwrap();
    let manifest = bundle.manifest();
    let options = SessionOptions::default();
    let mut inference = Inference::open(&runtime, &path, manifest, &options).unwrap();
    let images = random_images(&manifest.image, 3, 2);
    let mask: Mask = "region:0.5".parse().unwrap();
    let mask: Vec<f32> = (0..3).flat_map(|i| mask.draw(28, 28, 0, i)).collect();
    let changed: Vec<f32> = (images.iter().zip(&mask))
        .map(|(x, visible)| if *visible > 0.0 { *x } else { 1.0 - x })
        .collect();
    let langevin = Langevin {
        chains: 2,
        ..manifest.langevin
    };
    let mut made = |images: &[f32], masks: Option<&[f32]>| {
        let made = complete(&mut inference, images, masks, &langevin, 7, &mut |_| ());
        made.unwrap().generated
    };
    let ones = vec![1.0; mask.len()];
    let whole = made(&images, None);
    assert_eq!((whole.len(), whole[0].len()), (3, 2));
    assert_eq!(made(&images, Some(&ones)), whole);
    let incomplete = made(&images, Some(&mask));
    assert_eq!(made(&changed, Some(&mask)), incomplete);
    assert_ne!(incomplete, whole);
}

fn trainer(args: &[&str], bundle: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command.args(args).arg(bundle).output().unwrap()
}

fn fit(bundle: &Path, changes: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trainer"));
    command
        .args(["fit", "--dataset", "strokes", "--strokes-count", "600"])
        .args(["--holdout", "1", "--device", "cpu", "--out"])
        .arg(bundle);
    let small = [
        "learning.iterations=300",
        "learning.batch_size=64",
        "learning.langevin.steps=10",
        "calibration.count=50",
    ];
    for change in small.iter().chain(changes) {
        command.args(["--set", change]);
    }
    command.output().unwrap()
}

#[test]
fn a_fit_on_incomplete_images_recovers_them() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let mask = "learning.incomplete.mask=salt-and-pepper:0.5";
    let output = fit(&bundle, &[mask]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("contrast_norm is 5, expected 0"), "{error}");

    let output = fit(&bundle, &[mask, "model.contrast_norm=0"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");

    let task = |name: &str, count: &str| -> Value {
        let args = [name, "--json", "--count", count, "--steps", "60"];
        let output = trainer(&args, &bundle);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        assert!(bundle.join(format!("report/{name}.png")).is_file());
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let error = |report: &Value| report["mean_squared_error"]["best_chain"].as_f64().unwrap();
    let recovered = task("recover", "100");
    assert_eq!(recovered["mask"], "salt-and-pepper:0.5");
    assert_eq!(recovered["images"], 100);

    // Better than every hidden pixel's best constant.
    let x = intensities(&strokes::dataset(600, 0));
    let mean = x.iter().sum::<f32>() / x.len() as f32;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / x.len() as f32;
    assert!(error(&recovered) < 0.6 * f64::from(variance), "{recovered}");

    let reconstructed = task("reconstruct", "100");
    assert_eq!(reconstructed["mask"], Value::Null);
    assert!(error(&reconstructed) < error(&recovered), "{reconstructed}");
    let nothing = ["inpaint", "--mask", "salt-and-pepper:0.0001"];
    let output = trainer(&nothing, &bundle);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("hides no pixel"),
        "{errors}"
    );
    let inpainted = task("inpaint", "20");
    assert_eq!(inpainted["mask"], "centre:0.625");
    assert_eq!(inpainted["inference"]["chains"], 10);
    let all = inpainted["mean_squared_error"]["all_chains"]
        .as_f64()
        .unwrap();
    assert!(error(&inpainted) != all, "{inpainted}");
}

#[test]
fn every_completion_is_an_image_file() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let output = fit(&bundle, &["learning.iterations=20"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let completions = folder.path().join("completions");
    let inpaint = || {
        let args = ["inpaint", "--count", "4", "--chains", "3", "--steps", "2"];
        let png = ["--png", completions.to_str().unwrap()];
        trainer(&[&args[..], &png].concat(), &bundle)
    };
    let output = inpaint();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let names = names(&completions);
    assert_eq!(names.len(), 4 * 3, "{names:?}");
    assert_eq!(names[4], "00001-01.png");
    let read = |name: &str| {
        let image = image::open(completions.join(name)).unwrap();
        assert_eq!(image.color(), image::ColorType::L8, "{name}");
        image.to_luma8().into_raw()
    };
    // Two completions of an image differ where it was hidden, a square of 17 pixels.
    let (one, other) = (read("00001-00.png"), read("00001-01.png"));
    let differ = |range: std::ops::Range<usize>| {
        let places =
            (0..28 * 28).filter(|i| range.contains(&(i / 28)) && range.contains(&(i % 28)));
        places.filter(|&i| one[i] != other[i]).count()
    };
    assert!(differ(5..22) > 0);
    assert_eq!(differ(0..28), differ(5..22));

    let data = ["--dataset", "strokes", "--strokes-count", "40", "--json"];
    let output = trainer(&[&["fid"], &data[..]].concat(), &completions);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["generated_images"], 12);
    assert!(report["fid"].as_f64().unwrap() > 0.0, "{report}");

    let output = inpaint();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains("is not empty"), "{errors}");
}
