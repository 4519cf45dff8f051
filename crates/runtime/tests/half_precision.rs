//! Weights in half precision: what is stored is what is read, once, and nothing else changes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;

use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::ChainStart;
use lfbm_model::GeneratorName;
use lfbm_onnx::{Constant, DecodeError, Dim, ExternalData, Graph, Tensor, Value, decode, encode};
use lfbm_runtime::{ChainNoise, PosteriorStep, Runtime, SessionOptions, StepInputs, StepOutputs};
use lfbm_testkit::{RandomModel, random_bundle_of, random_images};

/// A linear layer, 16 to 16, with rounded weights.
fn product(weights: [f32; 256]) -> Graph {
    let mut graph = Graph::new("product");
    let z = graph.input("z", &[Dim::Batch, Dim::Fixed(16)]);
    let weight = graph.weights("weight", Tensor::new([16, 16], weights.to_vec()));
    let bias = graph.weights("bias", Tensor::new([16], vec![0.1; 16]));
    let x = graph.linear(&z, &weight, &bias).unwrap();
    graph.output("x", &x).unwrap();
    graph.simplify();
    graph.round_weights();
    graph
}

fn try_read(bytes: &[u8], weights: &[u8]) -> Result<Graph, DecodeError> {
    decode(bytes, &|file, offset, length| {
        assert_eq!(file, "weights.bin");
        weights.get(offset..offset + length).map(<[u8]>::to_vec)
    })
}

fn read(bytes: &[u8], weights: &[u8]) -> Graph {
    try_read(bytes, weights).unwrap()
}

#[test]
fn what_half_precision_holds_takes_two_bytes_and_is_read_as_it_was() {
    let mut external = ExternalData::new("weights.bin");
    let weights = std::array::from_fn(|i| (i as f32 - 99.5) / 1000.0);
    let graph = product(weights);
    let Constant::F32(rounded) = &graph.constants()[&Value::new("weight")] else {
        panic!("the weights are no numbers");
    };
    for (rounded, exact) in rounded.data.iter().zip(weights) {
        assert!((rounded - exact).abs() <= exact.abs() / 2048.0, "{exact}");
    }
    assert_ne!(rounded.data, weights);

    let bytes = encode(&graph, Some(&mut external)).unwrap();
    assert_eq!(encode(&graph, Some(&mut external)).unwrap(), bytes);
    assert_eq!(external.bytes().len(), 2 * 256, "of two graphs");
    let back = read(&bytes, external.bytes());
    assert_eq!(back.constants(), graph.constants());
    assert_eq!(back.nodes(), graph.nodes());
}

#[test]
fn what_half_precision_cannot_hold_keeps_four_bytes() {
    for weight in [70_000.0, 1e-6] {
        let mut external = ExternalData::new("weights.bin");
        let mut weights = [weight; 256];
        weights[0] = weight / 3.0;
        let graph = product(weights);
        let bytes = encode(&graph, Some(&mut external)).unwrap();
        assert_eq!(external.bytes().len(), 4 * 256, "{weight}");
        let back = read(&bytes, external.bytes());
        let kept = Constant::F32(Tensor::new([16, 16], weights.to_vec()));
        assert_eq!(back.constants()[&Value::new("weight")], kept, "{weight}");
    }
}

#[test]
fn a_graph_that_computes_in_half_precision_is_refused() {
    let mut external = ExternalData::new("weights.bin");
    let mut bytes = encode(&product([0.5; 256]), Some(&mut external)).unwrap();
    let cast = bytes.windows(4).position(|bytes| bytes == b"Cast").unwrap();
    bytes[cast..cast + 4].copy_from_slice(b"Sqrt");
    let error = try_read(&bytes, external.bytes()).unwrap_err().to_string();
    assert!(error.contains("node weight (Sqrt)"), "{error}");
}

const ROWS: usize = 40;

/// A noise-free step of latents from N(0, I): z_next, log p(z), log p(x|z) and g(z).
fn step(runtime: &Runtime, bundle: &Bundle, x: &[f32]) -> [Vec<f32>; 4] {
    let manifest = bundle.manifest();
    let (d, image) = (manifest.latent_dim, manifest.image);
    let options = SessionOptions::default();
    let mut step = PosteriorStep::open(runtime, bundle.dir(), manifest, &options).unwrap();
    let mut z = vec![0.0; ROWS * d];
    ChainNoise::new(3, 0).initial(&mut z);
    let mut outputs = [d, 1, 1, image.pixels()].map(|width| vec![0.0; ROWS * width]);
    let [z_next, log_prior, log_likelihood, reconstruction] = &mut outputs;
    step.run(
        ROWS,
        StepInputs {
            z: &z,
            x,
            mask: &vec![1.0; ROWS * image.positions()],
            noise: &z,
            step_size: &[0.1; ROWS],
            noise_scale: &[0.0; ROWS],
        },
        StepOutputs {
            z_next,
            log_prior,
            log_likelihood,
            reconstruction: Some(reconstruction),
        },
    )
    .unwrap();
    outputs
}

fn furthest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let distances = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    distances.fold(0.0, f32::max)
}

#[test]
fn a_bundle_in_half_precision_scores_like_one_in_single() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    for generator in [GeneratorName::Mlp, GeneratorName::Mnist] {
        let [single, half] = [false, true].map(|rounded| {
            let model = RandomModel {
                rounded,
                ..RandomModel::new(generator, 8, 16, 1)
            };
            let out = folder.path().join(format!("{generator}-{rounded}"));
            random_bundle_of(&out, &runtime, model).unwrap()
        });
        // Images that the model explains up to its sigma. Elsewhere the likelihood is of thousands
        // of nats, and so are its errors.
        let image = single.manifest().image;
        let none = vec![0.0; ROWS * image.pixels()];
        let [.., drawn] = step(&runtime, &single, &none);
        let noise = random_images(&image, ROWS, 2);
        let sigma = single.manifest().sigma;
        let deviation = |uniform: f32| 12.0_f32.sqrt() * (uniform - 0.5) * sigma;
        let x: Vec<f32> = drawn
            .iter()
            .zip(noise)
            .map(|(x, u)| x + deviation(u))
            .collect();
        let [exact, rounded] = [&single, &half].map(|bundle| step(&runtime, bundle, &x));
        let limits = [
            ("z_next", 0.05),
            ("log p(z), nats", 1e-4),
            ("log p(x|z), nats", 0.2),
            ("g(z)", 0.005),
        ];
        for (((what, limit), exact), rounded) in limits.iter().zip(&exact).zip(&rounded) {
            let distance = furthest(exact, rounded);
            assert!(
                distance <= *limit,
                "{generator}: {what} differs by {distance}"
            );
        }
        assert_ne!(exact[3], rounded[3]);
    }
}

#[test]
fn only_generator_and_encoder_are_rounded() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let [single, half] = [false, true].map(|rounded| {
        let out = folder.path().join(format!("{rounded}"));
        let model = RandomModel {
            chain_start: ChainStart::Encoder,
            rounded,
            ..RandomModel::new(GeneratorName::Mlp, 8, 1, 1)
        };
        let bundle = random_bundle_of(&out, &runtime, model).unwrap();
        let weights = fs::read(bundle.dir().join("weights.bin")).unwrap();
        let constants = |graph: &str| {
            let bytes = fs::read(bundle.dir().join(format!("{graph}.onnx"))).unwrap();
            read(&bytes, &weights).constants().clone()
        };
        let graphs = ["generator", "encoder", "flow", "prior", "posterior"].map(constants);
        (weights.len(), graphs)
    });
    let [generator, encoder, flow, prior, posterior] = &half.1;
    assert_ne!(generator, &single.1[0]);
    assert_ne!(encoder, &single.1[1]);
    assert_eq!(flow, &single.1[2]);
    assert_eq!(prior, &single.1[3]);
    let holds = |constants: &BTreeMap<Value, Constant>| {
        let mut all = constants.iter();
        all.all(|(name, constant)| posterior.get(name) == Some(constant))
    };
    assert!(holds(generator) && holds(flow));
    let [half, single] = [half.0, single.0];
    assert!(half * 3 < single * 2, "{half} bytes of {single}");
}
