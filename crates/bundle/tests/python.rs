//! Bundles are ordinary ONNX: the official checker accepts every graph, and Python's ONNX Runtime
//! computes the same step.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use lfbm_bundle::manifest::{ChainStart, PriorKind};
use lfbm_model::GeneratorName;
use lfbm_runtime::{
    ChainNoise, ChainStarts, PosteriorStep, Runtime, SessionOptions, StepInputs, StepOutputs,
};
use lfbm_testkit::{RandomModel, random_bundle_of, random_images};

const ROWS: usize = 3;
const LATENT_DIM: usize = 8;

fn check(model: RandomModel) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle");
    let runtime = Runtime::load(None).unwrap();
    let bundle = random_bundle_of(&path, &runtime, model).unwrap();
    let manifest = bundle.manifest();
    let options = SessionOptions::default();
    let mut step = PosteriorStep::open(&runtime, &path, manifest, &options).unwrap();

    let pixels = manifest.image.pixels();
    let x: Vec<f32> = random_images(&manifest.image, ROWS, 5)
        .iter()
        .map(|v| 2.0 * v - 1.0)
        .collect();
    let mask: Vec<f32> = (0..ROWS * manifest.image.positions())
        .map(|i| f32::from(u8::from(i % 3 > 0)))
        .collect();
    let (mut z, mut noise) = (vec![0.0; ROWS * LATENT_DIM], vec![0.0; ROWS * LATENT_DIM]);
    ChainNoise::new(3, 0).initial(&mut z);
    ChainNoise::new(3, 0).step(0, &mut noise);
    let (step_size, noise_scale) = ([0.1, 0.2, 0.05], [1.0, 0.0, 1.0]);
    let mut z_next = vec![0.0; ROWS * LATENT_DIM];
    let (mut log_prior, mut log_likelihood) = (vec![0.0; ROWS], vec![0.0; ROWS]);
    let mut reconstruction = vec![0.0; ROWS * pixels];
    step.run(
        ROWS,
        StepInputs {
            z: &z,
            x: &x,
            mask: &mask,
            noise: &noise,
            step_size: &step_size,
            noise_scale: &noise_scale,
        },
        StepOutputs {
            z_next: &mut z_next,
            log_prior: &mut log_prior,
            log_likelihood: &mut log_likelihood,
            reconstruction: Some(&mut reconstruction),
        },
    )
    .unwrap();
    assert_ne!(z, z_next);

    let mut runs = serde_json::json!({
        "posterior": {
            "inputs": {
                "z": z, "x": x, "mask": mask, "noise": noise,
                "step_size": step_size, "noise_scale": noise_scale,
            },
            "outputs": {
                "z_next": z_next, "log_prior": log_prior, "log_likelihood": log_likelihood,
                "reconstruction": reconstruction,
            },
        },
    });
    let (mut graphs, mut outputs) = (5, 4);
    if model.chain_start == ChainStart::Encoder {
        let mut starts = ChainStarts::open(&runtime, &path, manifest, &options).unwrap();
        starts.run(ROWS, &x, &noise, &mut z).unwrap();
        assert_ne!(z, noise);
        runs["encoder"] = serde_json::json!({
            "inputs": { "x": x, "noise": noise },
            "outputs": { "z": z },
        });
        (graphs, outputs) = (6, 5);
    }
    let runs_file = folder.path().join("runs.json");
    std::fs::write(&runs_file, runs.to_string()).unwrap();

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("../../third_party/python");
    assert!(
        packages.is_dir(),
        "the Python packages are missing: run `make python`"
    );
    let output = Command::new("python3")
        .arg(root.join("tests/check_bundle.py"))
        .args([&path, &runs_file])
        .env("PYTHONPATH", packages)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{model:?}: {errors}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).lines().count(),
        graphs + outputs
    );
}

fn model(generator: GeneratorName) -> RandomModel {
    RandomModel::new(generator, LATENT_DIM, 4, 1)
}

#[test]
fn python_accepts_and_agrees_on_mlp() {
    check(model(GeneratorName::Mlp));
}

#[test]
fn python_accepts_and_agrees_on_mnist() {
    check(model(GeneratorName::Mnist));
}

#[test]
fn python_accepts_and_agrees_on_half_precision() {
    check(RandomModel {
        chain_start: ChainStart::Encoder,
        rounded: true,
        ..model(GeneratorName::Mnist)
    });
}

#[test]
fn python_accepts_and_agrees_on_an_energy() {
    check(RandomModel {
        prior: PriorKind::Ebm,
        ..model(GeneratorName::Mlp)
    });
}

#[test]
fn python_accepts_and_agrees_on_encoders() {
    // One without convolutions, one that ends with a convolution, one that ends with the head.
    for generator in [
        GeneratorName::Mlp,
        GeneratorName::Mnist,
        GeneratorName::Celeba,
    ] {
        check(RandomModel {
            chain_start: ChainStart::Encoder,
            ..model(generator)
        });
    }
}
