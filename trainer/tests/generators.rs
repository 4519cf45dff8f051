//! Every generator by name, at a small width: what is trained, what inference runs on and what is
//! exported are one function, with autograd's gradient.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lfbm_bundle::manifest::{Contrast, ImageSpec, Intake};
use lfbm_model::{
    GeneratorName, GeneratorSpec, Layer, PriorWeights, forward_graphs, posterior_graph,
    preprocess_graph,
};
use lfbm_onnx::Tensor as HostTensor;
use lfbm_runtime::{Runtime, evaluate};
use lfbm_trainer::model::{Generator, host};
use tch::{Device, Kind, Tensor};

const ROWS: i64 = 2;
const LATENT_DIM: usize = 4;
const SIGMA: f64 = 0.4;

fn spec(name: GeneratorName) -> GeneratorSpec {
    let side = name.side().unwrap_or(12);
    GeneratorSpec {
        name,
        latent_dim: LATENT_DIM,
        width: 2,
        channels: 3,
        height: side,
        width_px: side,
    }
}

fn assert_close(what: &str, got: &Tensor, expected: &Tensor, tolerance: f64) {
    let scale = expected.abs().max().double_value(&[]).max(1.0);
    let expected = expected.to_kind(got.kind()).view_as(got);
    let error = (got - expected).abs().max().double_value(&[]) / scale;
    assert!(error <= tolerance, "{what}: off by {error:e}");
}

#[test]
fn every_generator_exports_to_the_gradient_of_autograd() {
    tch::manual_seed(1);
    let runtime = Runtime::load(None).unwrap();
    for name in GeneratorName::ALL {
        let spec = spec(name);
        let generator = Generator::new(&spec, Device::Cpu).unwrap();
        let image = ImageSpec {
            channels: spec.channels,
            height: spec.height,
            width: spec.width_px,
            value_range: [-1.0, 1.0],
            contrast: Contrast::None,
            intake: Intake::STRETCH,
        };
        let side = spec.height as i64;
        let options = (Kind::Float, Device::Cpu);
        let x = Tensor::rand([ROWS, 3, side, side], options) * 2.0 - 1.0;
        let mask = Tensor::rand([ROWS, 1, side, side], options).round();
        let z = Tensor::randn([ROWS, LATENT_DIM as i64], options).set_requires_grad(true);

        let made = generator.forward(&z);
        assert_eq!(made.size(), x.size(), "{name}");
        let error = ((&made - &x) * &mask).square().sum(Kind::Float);
        let joint = z.square().sum(Kind::Float) * -0.5 - error * (0.5 / (SIGMA * SIGMA));
        let slope = Tensor::run_backward(&[&joint], &[&z], false, false);
        let (z, made) = (z.detach(), made.detach());

        let frozen = generator.freeze();
        let generated = frozen.forward(&z);
        assert_close(&format!("{name}: frozen"), &generated.image, &made, 1e-5);
        let residual = (&x - &generated.image) * &mask / (SIGMA * SIGMA);
        let pulled = frozen.pull_back(&generated, &residual) - &z;
        assert_close(&format!("{name}: pulled back"), &pulled, &slope[0], 1e-4);

        let graphs = forward_graphs(
            preprocess_graph(&image).unwrap(),
            &spec,
            &generator.weights(),
            &PriorWeights::Gaussian,
        )
        .unwrap();
        let posterior = posterior_graph(
            &graphs.generator,
            &graphs.flow,
            image.shape(),
            LATENT_DIM,
            SIGMA as f32,
        )
        .unwrap();
        // With s^2/2 = 1 and no noise a step adds the gradient.
        let rows = |value: f32| HostTensor::new([ROWS as usize], vec![value; ROWS as usize]);
        let inputs = [
            host::to_host(&z),
            host::to_host(&x),
            host::to_host(&mask),
            host::to_host(&z),
            rows(2.0_f32.sqrt()),
            rows(0.0),
        ];
        let outputs = evaluate(&runtime, &posterior, &inputs).unwrap();
        let moved = Tensor::from_slice(&outputs[0].data).view_as(&z) - &z;
        assert_close(&format!("{name}: exported step"), &moved, &slope[0], 1e-4);
        let drawn = Tensor::from_slice(&outputs[3].data).view_as(&made);
        assert_close(&format!("{name}: exported image"), &drawn, &made, 1e-5);
    }
}

#[test]
fn images_of_another_size_are_refused_with_both_sizes() {
    for name in GeneratorName::ALL {
        let Some(side) = name.side() else { continue };
        let wrong = GeneratorSpec {
            height: side + 1,
            ..spec(name)
        };
        let message = wrong.layers().unwrap_err().to_string();
        for part in [
            name.to_string(),
            format!("{side} x {side}"),
            format!("{} x {side}", side + 1),
        ] {
            assert!(message.contains(&part), "{message}");
        }
        let none = GeneratorSpec {
            width: 0,
            ..spec(name)
        };
        assert!(none.layers().is_err(), "{name} of width 0");
    }
}

/// Channels, kernel, stride and padding of the convolutional layers, the first to the last.
fn table(name: GeneratorName, width: usize, latent_dim: usize) -> Vec<[usize; 5]> {
    let spec = GeneratorSpec {
        width,
        latent_dim,
        ..spec(name)
    };
    let layers = spec.layers().unwrap().into_iter();
    layers
        .map(|layer| match layer {
            Layer::ConvTranspose {
                in_channels,
                out_channels,
                geometry,
            } => [
                in_channels,
                out_channels,
                geometry.kernel,
                geometry.stride,
                geometry.pads[0],
            ],
            Layer::Linear { .. } => panic!("{name} has a fully connected layer"),
        })
        .collect()
}

#[test]
fn the_papers_tables() {
    assert_eq!(
        table(GeneratorName::Cifar10, 128, 128),
        [
            [128, 1024, 8, 1, 0],
            [1024, 512, 4, 2, 1],
            [512, 256, 4, 2, 1],
            [256, 3, 3, 1, 1],
        ]
    );
    let celeba_hq = table(GeneratorName::CelebaHq, 128, 128);
    let channels: Vec<usize> = celeba_hq.iter().map(|layer| layer[1]).collect();
    assert_eq!(channels, [2048, 1024, 512, 256, 256, 128, 3]);
    let sides = [
        (GeneratorName::Mnist, 28),
        (GeneratorName::Svhn, 32),
        (GeneratorName::Cifar10, 32),
        (GeneratorName::Celeba, 64),
        (GeneratorName::CelebaHq, 256),
    ];
    for (name, side) in sides {
        assert_eq!(name.side(), Some(side), "{name}");
    }
}
