//! `trainer synthesize`, and `trainer fid` against SciPy.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use image::{GrayImage, RgbImage};
use lfbm_model::GeneratorName;
use lfbm_onnx::{ConvGeometry, Dim, Graph, Tensor, encode};
use lfbm_runtime::Runtime;
use lfbm_testkit::random_bundle;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

fn trainer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trainer"))
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A network with fixed weights: a convolution, a ReLU, and two statistics of each channel.
fn network(path: &Path, channels: usize, spatial: [Dim; 2]) {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let weight = (0..6 * channels * 9).map(|_| rng.random_range(-0.5..0.5));
    let weight = Tensor::new([6, channels, 3, 3], weight.collect());
    let mut graph = Graph::new("features");
    let shape = [Dim::Batch, Dim::Fixed(channels), spatial[0], spatial[1]];
    let x = graph.input("images", &shape);
    let weight = graph.weights("weight", weight);
    let geometry = ConvGeometry::new(3, 2, 1);
    let filtered = graph.conv(&x, &weight, None, geometry).unwrap();
    let rectified = graph.relu(&filtered).unwrap();
    let sum = graph.reduce_sum(&rectified, &[2, 3], false).unwrap();
    let square = graph.reduce_sum_square(&filtered, &[2, 3], false).unwrap();
    let features = graph.concat(&[&sum, &square], 1).unwrap();
    graph.output("features", &features).unwrap();
    fs::write(path, encode(&graph, None).unwrap()).unwrap();
}

/// Colour images of blobs whose brightness is about `level`, as files and as bytes, C H W.
fn write_images(folder: &Path, count: u32, level: f32, seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    fs::create_dir_all(folder).unwrap();
    let mut all = Vec::new();
    for index in 0..count {
        let planes: Vec<u8> = (0..3 * 8 * 8)
            .map(|_| (255.0 * level * rng.random_range(0.2..1.0_f32)) as u8)
            .collect();
        let image = RgbImage::from_fn(8, 8, |x, y| {
            image::Rgb([0, 1, 2].map(|channel| planes[channel * 64 + (y * 8 + x) as usize]))
        });
        image.save(folder.join(format!("{index:04}.png"))).unwrap();
        all.extend(planes);
    }
    all
}

#[test]
fn the_frechet_distance_is_scipys() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_owned();
    network(&path("net.onnx"), 3, [Dim::Fixed(8), Dim::Fixed(8)]);
    let real = write_images(&path("real"), 60, 0.9, 1);
    let generated = write_images(&path("generated"), 50, 0.7, 2);
    let (net, real_folder) = (text("net.onnx"), text("real"));
    let fid = |generated: &str| {
        let mut arguments = vec!["fid", generated, "--features", &net, "--json"];
        arguments.extend(["--dataset", "images", "--data-dir", &real_folder]);
        arguments.extend(["--image-size", "8", "--channels", "3"]);
        let report: Value = serde_json::from_str(&stdout(&trainer(&arguments))).unwrap();
        (report["fid"].as_f64().unwrap(), report)
    };
    let (distance, report) = fid(&text("generated"));
    assert_eq!(report["real_images"], 60);
    assert_eq!(report["generated_images"], 50);

    let images = json!({"shape": [3, 8, 8], "real": real, "generated": generated});
    fs::write(path("images.json"), images.to_string()).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let packages = root.join("../third_party/python");
    assert!(
        packages.is_dir(),
        "the Python packages are missing: run `make python`"
    );
    let output = Command::new("python3")
        .arg(root.join("tests/fid.py"))
        .args([path("net.onnx"), path("images.json")])
        .env("PYTHONPATH", packages)
        .output()
        .unwrap();
    let expected: f64 = stdout(&output).trim().parse().unwrap();
    assert!(expected > 0.1, "{expected} tells nothing");
    let error = (distance - expected).abs() / expected;
    assert!(error < 1e-4, "{distance}, SciPy {expected}");

    let (itself, _) = fid(&real_folder);
    assert!(itself.abs() < 1e-3 * expected, "{itself} from itself");
}

#[test]
fn a_bundle_is_sampled_for_pictures_and_for_the_distance() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let bundle = folder.path().join("bundle");
    random_bundle(&bundle, &runtime, GeneratorName::Mlp, 6, 4, 1).unwrap();
    let bundle = bundle.to_str().unwrap();
    let out = folder.path().join("out");
    let mut arguments = vec!["synthesize", bundle, "--count", "6", "--columns", "3"];
    arguments.extend(["--interpolations", "2", "--interpolation-steps", "5"]);
    arguments.extend(["--out", out.to_str().unwrap()]);
    stdout(&trainer(&arguments));
    let size = |name: &str| image::open(out.join(name)).unwrap().to_rgb8().dimensions();
    let side = |tiles: u32| tiles * (3 * 28 + 4) + 4;
    assert_eq!(size("samples.png"), (side(3), side(2)));
    assert_eq!(size("interpolation.png"), (side(5), side(2)));
    let text = fs::read_to_string(out.join("synthesize.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let latent = |list: &str, index: usize| -> Vec<f64> {
        let values = report[list][index].as_array().unwrap().iter();
        values.map(|v| v.as_f64().unwrap()).collect()
    };
    // A row starts and ends at samples, and its middle lies half-way.
    let (first, last) = (latent("latents", 0), latent("latents", 1));
    assert_eq!(latent("interpolation_latents", 0), first);
    assert_eq!(latent("interpolation_latents", 4), last);
    for (middle, (first, last)) in latent("interpolation_latents", 2)
        .iter()
        .zip(first.iter().zip(&last))
    {
        assert!((middle - 0.5 * (first + last)).abs() < 1e-6);
    }

    let net = folder.path().join("net.onnx");
    network(&net, 3, [Dim::Fixed(28), Dim::Fixed(28)]);
    let fid = |generated: &str, net: &Path| {
        let mut arguments = vec!["fid", generated, "--features", net.to_str().unwrap()];
        arguments.extend(["--dataset", "strokes", "--strokes-count", "40", "--json"]);
        trainer(&arguments)
    };
    let samples = folder.path().join("drawn");
    for index in 0..40 {
        // What the digits are far from: noise.
        let noise = GrayImage::from_fn(28, 28, |x, y| {
            image::Luma([((x * 37 + y * 91 + index * 53) % 256) as u8])
        });
        fs::create_dir_all(&samples).unwrap();
        noise.save(samples.join(format!("{index}.png"))).unwrap();
    }
    for generated in [bundle, samples.to_str().unwrap()] {
        let report: Value = serde_json::from_str(&stdout(&fid(generated, &net))).unwrap();
        assert!(report["fid"].as_f64().unwrap() > 1.0, "{report}");
    }
    // Without a network edges are compared: a digit is nearer to digits than noise is.
    let digits = folder.path().join("digits");
    let digits = digits.to_str().unwrap();
    let draw = ["draw", "--digit", "3", "--count", "20", "--out", digits];
    stdout(&trainer(&draw));
    let edges = |generated: &str| {
        let mut arguments = vec!["fid", generated, "--dataset", "strokes", "--json"];
        arguments.extend(["--strokes-count", "40"]);
        let report: Value = serde_json::from_str(&stdout(&trainer(&arguments))).unwrap();
        assert_eq!(
            (&report["features"], &report["feature_count"]),
            (&json!("edges"), &json!(128))
        );
        report["fid"].as_f64().unwrap()
    };
    assert!(edges(digits) < edges(samples.to_str().unwrap()));
    assert!(edges(bundle) > 0.0);
    network(&net, 1, [Dim::Fixed(32), Dim::Fixed(32)]);
    let output = fid(bundle, &net);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && message.contains("1 x 32 x 32"),
        "{message}"
    );
}
