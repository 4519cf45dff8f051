//! A bundle that is not whole is refused, with the name of the file that is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use lfbm_bundle::manifest::{ChainStart, Decision};
use lfbm_bundle::{Bundle, BundleSpec, StagedBundle};
use lfbm_model::{ForwardGraphs, GeneratorName};
use lfbm_onnx::Graph;
use lfbm_runtime::{Runtime, SessionOptions};
use lfbm_testkit::{RandomModel, random_bundle, random_bundle_of, random_images};

fn bundle(folder: &Path) -> PathBuf {
    let path = folder.join("bundle");
    random_bundle(
        &path,
        &Runtime::load(None).unwrap(),
        GeneratorName::Mlp,
        4,
        1,
        1,
    )
    .unwrap();
    path
}

#[test]
fn a_changed_cut_or_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle(folder.path());
    let names: Vec<String> = Bundle::open(&path)
        .unwrap()
        .manifest()
        .files
        .keys()
        .cloned()
        .collect();
    assert_eq!(names.len(), 7, "{names:?}");
    for name in &names {
        let file = path.join(name);
        let whole = fs::read(&file).unwrap();
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 1;
        for bytes in [Some(changed), Some(whole[..whole.len() - 1].to_vec()), None] {
            match bytes {
                Some(bytes) => fs::write(&file, bytes).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            let error = Bundle::open(&path).unwrap_err().to_string();
            assert!(error.contains(name.as_str()), "{name}: {error}");
            fs::write(&file, &whole).unwrap();
        }
    }
    Bundle::open(&path).unwrap();
}

#[test]
fn a_manifest_of_another_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle(folder.path());
    let manifest = path.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    for (from, to, blamed) in [
        (
            "\"format_version\": 1",
            "\"format_version\": 3",
            "format version 1 is expected, it has 3",
        ),
        ("\"latent_dim\": 4", "\"latent_dim\": 5", ".onnx"),
        ("\"version\": 1", "\"version\": 0", "the version is zero"),
        ("\"count\": 99", "\"count\": 98", "calibration.bin"),
        (
            "\"height\": 28",
            "\"height\": 29",
            "the representation has another number of values than the image",
        ),
        ("\"values\": 784", "\"values\": 785", "the representation"),
        ("\"sigma\"", "\"sigmoid\"", "manifest.json"),
        (
            "\"threshold_local_score\": ",
            "\"threshold_local_score\": 1",
            "its thresholds for a false-alarm rate of 0.05",
        ),
        (
            "\"false_positive_rate\": 0.05",
            "\"false_positive_rate\": 5",
            "the false-positive rate is not above 0 and below 1",
        ),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&manifest, text.replace(from, to)).unwrap();
        let error = Bundle::open(&path).unwrap_err().to_string();
        assert!(error.contains(blamed), "{error}");
    }
}

#[test]
fn a_bundle_whose_chains_start_at_an_encoder_needs_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle");
    let runtime = Runtime::load(None).unwrap();
    let model = RandomModel {
        chain_start: ChainStart::Encoder,
        ..RandomModel::new(GeneratorName::Mlp, 4, 1, 1)
    };
    let bundle = random_bundle_of(&path, &runtime, model).unwrap();
    assert_eq!(bundle.manifest().chain_start, ChainStart::Encoder);

    let manifest = path.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let renamed = text.replace("\"encoder.onnx\"", "\"coder.onnx\"");
    fs::write(&manifest, renamed).unwrap();
    let error = Bundle::open(&path).unwrap_err().to_string();
    assert!(error.contains("encoder.onnx is not listed"), "{error}");

    let line = "  \"chain_start\": \"encoder\",\n";
    assert!(text.contains(line));
    fs::write(&manifest, text.replace(line, "")).unwrap();
    let error = Bundle::open(&path).unwrap_err().to_string();
    assert!(error.contains("chain_start"), "{error}");
}

#[test]
fn what_would_be_refused_does_not_replace_a_bundle() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle(folder.path());
    let before = Bundle::open(&path).unwrap();
    let mut staged = StagedBundle::of_bundle(&path, &path, true).unwrap();
    staged.write("generator.onnx", b"no graph").unwrap();
    let finished = staged.finish(before.calibration(), 0.05, Decision::Local);
    let error = finished.unwrap_err().to_string();
    assert!(error.contains("generator.onnx"), "{error}");
    let after = Bundle::open(&path).unwrap();
    assert_eq!(after.manifest(), before.manifest());

    let staged = StagedBundle::of_bundle(&path, &path, true).unwrap();
    let finished = staged.finish(before.calibration(), 0.1, Decision::Local);
    assert_eq!(finished.unwrap().dir(), path.canonicalize().unwrap());
    let replaced = Bundle::open(&path).unwrap();
    assert_eq!(replaced.manifest().calibration.false_positive_rate, 0.1);
}

#[test]
fn a_model_that_no_bundle_may_have_is_refused_before_it_is_calibrated() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = Bundle::open(&bundle(folder.path())).unwrap();
    let manifest = manifest.manifest().clone();
    let spec = BundleSpec {
        name: manifest.name,
        version: manifest.version,
        image: manifest.image,
        representation: manifest.representation,
        latent_dim: manifest.latent_dim,
        sigma: manifest.sigma,
        prior: manifest.prior,
        prior_sampling: manifest.prior_sampling,
        generator: manifest.generator,
        langevin: manifest.langevin,
        classes: manifest.classes,
        training: manifest.training,
    };
    let graphs = ForwardGraphs {
        preprocess: Graph::new("preprocess"),
        generator: Graph::new("generator"),
        flow: Graph::new("flow"),
        prior: None,
        encoder: None,
    };
    let out = folder.path().join("out");
    let refusal = |change: &dyn Fn(&mut BundleSpec)| {
        let mut spec = spec.clone();
        change(&mut spec);
        let staged = StagedBundle::stage(&out, spec, &graphs, false);
        staged.err().expect("a refusal").to_string()
    };
    for (error, blamed) in [
        (
            refusal(&|spec| spec.latent_dim = 262_144),
            "the latent's size is not within 1 and 65536",
        ),
        (
            refusal(&|spec| spec.representation.rows = 2048),
            "the representation has no site, no value, or too many",
        ),
        (
            refusal(&|spec| spec.name = "..".to_owned()),
            "the name is not",
        ),
        (refusal(&|spec| spec.sigma = 0.0), "sigma is not positive"),
    ] {
        assert!(error.contains(blamed), "{error}");
    }
    assert!(!out.exists());
}

#[test]
fn a_decoder_is_for_features_of_the_whole_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = bundle(folder.path());
    let before = Bundle::open(&path).unwrap();
    let mut of_pixels = StagedBundle::of_bundle(&path, &path, true).unwrap();
    of_pixels.write("decoder.onnx", b"no graph").unwrap();
    let finished = of_pixels.finish(before.calibration(), 0.05, Decision::Local);
    let error = finished.unwrap_err().to_string();
    assert!(error.contains("decoder.onnx is for features"), "{error}");
}

#[test]
fn a_folder_that_is_no_bundle_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = Bundle::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("manifest.json"), "{error}");
}

#[test]
fn a_score_does_not_depend_on_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let path = bundle(folder.path());
    let bundle = Bundle::open(&path).unwrap();
    let manifest = bundle.manifest();
    let mut inference =
        lfbm_runtime::Inference::open(&runtime, &path, manifest, &SessionOptions::default())
            .unwrap();
    let images = random_images(&manifest.image, 64, 9);
    let mut score = |images: &[f32]| {
        inference
            .score(images, &manifest.langevin, 7, &mut |_| ())
            .unwrap()
    };
    let together = score(&images);
    let alone = score(&images[..manifest.image.pixels()]);
    let (a, b) = (together[0].log_joint, alone[0].log_joint);
    assert!((a - b).abs() < 1e-4 * b.abs(), "{a} among 64, {b} alone");
    assert_ne!(together[0].log_joint, together[1].log_joint);
}
