//! The encoder q(z|x) as a density, and the graph that is written of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::path::Path;

use common::{log_integral, plane, seeded, shake};
use lfbm_model::{EncoderLayer, EncoderSpec, GeneratorName, GeneratorSpec, encoder_graph};
use lfbm_runtime::{Runtime, evaluate};
use lfbm_trainer::model::density::{log_likelihood, log_standard_normal};
use lfbm_trainer::model::parameters::{Parameters, convert};
use lfbm_trainer::model::{Encoder, Flow, Generator, IafStep, Observation, host};
use lfbm_trainer::settings::Settings;
use tch::{Device, Kind, Tensor};

const CPU: Device = Device::Cpu;
const DOUBLE: (Kind, Device) = (Kind::Double, CPU);

fn spec(name: GeneratorName, latent_dim: usize, side: usize) -> EncoderSpec {
    EncoderSpec {
        generator: GeneratorSpec {
            name,
            latent_dim,
            width: 2,
            channels: 1,
            height: side,
            width_px: side,
        },
        width: 3,
        context: 5,
        iaf_steps: 3,
        iaf_hidden: 16,
    }
}

/// An encoder of 2 x 2 images, in double precision.
fn small_encoder(latent_dim: usize) -> Encoder {
    let mut encoder = Encoder::new(&spec(GeneratorName::Mlp, latent_dim, 2), CPU).unwrap();
    encoder.set_kind(Kind::Double);
    encoder
}

/// One image, as many times as there are rows.
fn image(rows: i64) -> Observation {
    let x = Tensor::from_slice(&[0.3, -0.8, 0.5, -0.1]).view([1, 1, 2, 2]);
    Observation {
        x: x.expand([rows, 1, 2, 2], false),
        mask: None,
    }
}

/// A number of each row.
fn number(tensor: &Tensor, row: i64) -> f64 {
    tensor.double_value(&[row])
}

#[test]
fn a_coordinate_of_a_flow_step_depends_on_those_before_it() {
    let _guard = seeded(1);
    for (dim, reversed) in [(2, false), (5, false), (5, true)] {
        let mut step = IafStep::new(dim, 4, 200, reversed, CPU);
        convert(&mut step, Kind::Double);
        shake(&mut step, 0.05);
        let (z, context) = (
            Tensor::randn([1, dim], DOUBLE),
            Tensor::randn([1, 4], DOUBLE),
        );
        let (_, log_det) = step.forward(&z, &context);
        let nudge = 1e-6;
        let column = |coordinate| {
            let nudges = Tensor::zeros([1, dim], DOUBLE);
            let _ = nudges.narrow(1, coordinate, 1).fill_(nudge);
            let at = |z: &Tensor| step.forward(z, &context).0;
            ((at(&(&z + &nudges)) - at(&(&z - &nudges))) / (2.0 * nudge)).squeeze_dim(0)
        };
        let columns: Vec<Tensor> = (0..dim).map(column).collect();
        let jacobian = Tensor::stack(&columns, 1);
        let (before, after) = (jacobian.tril(-1), jacobian.triu(1));
        let (used, unused) = if reversed {
            (after, before)
        } else {
            (before, after)
        };
        assert_eq!(unused.abs().max().double_value(&[]), 0.0, "dim {dim}");
        let used = used.ne(0.0).sum(Kind::Int64).int64_value(&[]);
        assert_eq!(used, dim * (dim - 1) / 2, "all of those before it");
        let expected = jacobian.diagonal(0, 0, 1).log().sum(None).double_value(&[]);
        let off = (number(&log_det, 0) - expected).abs();
        assert!(off < 1e-6, "dim {dim}: log-determinant off by {off:e}");

        let elsewhere = step.forward(&z, &(&context + 1.0)).0;
        let moved = (elsewhere - step.forward(&z, &context).0).abs().min();
        assert!(moved.double_value(&[]) > 0.0, "the context moves them all");
    }
}

/// The noise plane is cut into squares, whose images under the encoder are measured.
#[test]
fn the_encoder_is_a_density() {
    let _guard = seeded(2);
    let mut encoder = small_encoder(2);
    shake(&mut encoder, 0.2);
    let (cells, bound) = (300, 6.0);
    let (centers, _) = plane(cells, bound);
    // Midpoints again, of squares that are half a square further out.
    let side = cells + 1;
    let (corners, _) = plane(side, bound + bound / cells as f64);
    let (corners, _) = encoder.sample(&image(side * side), &corners);
    let corners = corners.view([side, side, 2]);
    let corner = |down: i64, right: i64| {
        let rows = corners.narrow(0, down, side - 1);
        rows.narrow(1, right, side - 1)
    };
    let (first, second) = (corner(1, 1) - corner(0, 0), corner(0, 1) - corner(1, 0));
    let part = |diagonal: &Tensor, coordinate| diagonal.select(2, coordinate);
    let areas =
        (part(&first, 0) * part(&second, 1) - part(&first, 1) * part(&second, 0)).abs() * 0.5;

    let (_, log_density) = encoder.sample(&image(centers.size()[0]), &centers);
    let mass = (log_density.exp() * areas.flatten(0, -1))
        .sum(None)
        .double_value(&[]);
    assert!((mass - 1.0).abs() < 1e-3, "integrates to {mass}");
}

#[test]
fn the_elbo_bounds_the_evidence_and_the_encoder_estimates_it() {
    let _guard = seeded(3);
    let mut encoder = small_encoder(2);
    // Importance sampling needs a q that is wider than the posterior.
    encoder.visit(&mut |name, _, tensor| {
        if name == "head.bias" {
            let log_variances = [0.0, 0.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0];
            *tensor = &*tensor + Tensor::from_slice(&log_variances);
        }
    });
    let mut generator = Generator::new(&spec(GeneratorName::Mlp, 2, 2).generator, CPU).unwrap();
    generator.set_kind(Kind::Double);
    shake(&mut generator, 0.05);
    let mut flow = Flow::new(2, 2, 8, CPU);
    convert(&mut flow, Kind::Double);
    shake(&mut flow, 0.2);
    let log_joint = |z: &Tensor| {
        let seen = image(z.size()[0]);
        let likelihood = log_likelihood(&seen.x, &generator.forward(z), None, 0.5);
        likelihood + flow.log_density(z)
    };
    let (points, area) = plane(300, 10.0);
    let evidence = log_integral(&log_joint(&points), area);

    // An expectation under q is an integral over the noise, which is standard normal.
    let (noise, area) = plane(300, 8.0);
    let (z, log_density) = encoder.sample(&image(noise.size()[0]), &noise);
    let log_weights = log_joint(&z) - log_density;
    let log_normal = log_standard_normal(&noise);
    let elbo = (log_normal.exp() * &log_weights)
        .sum(None)
        .double_value(&[])
        * area;
    let estimate = log_integral(&(log_normal + log_weights), area);
    assert!(elbo < evidence - 0.01, "ELBO {elbo}, log p(x) {evidence}");
    assert!(
        (estimate - evidence).abs() < 1e-3,
        "importance sampling {estimate}, on a grid {evidence}"
    );
}

#[test]
fn without_flow_steps_it_is_the_gaussian_of_its_head() {
    let _guard = seeded(4);
    let spec = EncoderSpec {
        iaf_steps: 0,
        ..spec(GeneratorName::Mlp, 3, 2)
    };
    let mut encoder = Encoder::new(&spec, CPU).unwrap();
    encoder.set_kind(Kind::Double);
    let at = |noise: Tensor| encoder.sample(&image(noise.size()[0]), &noise);
    let (mean, _) = at(Tensor::zeros([1, 3], DOUBLE));
    let (shifted, _) = at(Tensor::ones([1, 3], DOUBLE));
    let deviation = shifted - &mean;
    let (z, log_density) = at(Tensor::randn([8, 3], DOUBLE));
    let expected = log_standard_normal(&((z - mean) / &deviation)) - deviation.log().sum(None);
    let off = (log_density - expected).abs().max().double_value(&[]);
    assert!(off < 1e-12, "off by {off:e}");
}

/// The encoder that learns where Langevin chains end.
#[test]
fn without_flow_steps_the_density_is_a_gaussians() {
    let _guard = seeded(7);
    let spec = EncoderSpec {
        context: 0,
        iaf_steps: 0,
        ..spec(GeneratorName::Mlp, 3, 2)
    };
    let mut encoder = Encoder::new(&spec, CPU).unwrap();
    encoder.set_kind(Kind::Double);
    let noise = Tensor::randn([50, 3], DOUBLE);
    let (z, log_density) = encoder.sample(&image(50), &noise);
    let gaussian = encoder.gaussian_log_density(&image(50), &z);
    let off = (log_density - gaussian).abs().max().double_value(&[]);
    assert!(off < 1e-12, "off by {off:e}");
}

#[test]
fn a_hidden_pixel_changes_nothing() {
    let _guard = seeded(5);
    let encoder = small_encoder(3);
    let mask = Tensor::from_slice(&[1.0, 0.0, 1.0, 0.0]).view([1, 1, 2, 2]);
    let noise = Tensor::randn([1, 3], DOUBLE);
    let sample = |x: Tensor| {
        let mask = Some(mask.shallow_clone());
        encoder.sample(&Observation { x, mask }, &noise)
    };
    let x = image(1).x;
    let other = &x + (mask.ones_like() - &mask) * 17.0;
    let seen = &x + &mask * 0.1;
    assert_eq!(sample(x.shallow_clone()), sample(other));
    assert_ne!(sample(x), sample(seen));
}

#[test]
fn the_exported_encoder_is_this_one() {
    let _guard = seeded(6);
    let runtime = Runtime::load(None).unwrap();
    let gaussian = EncoderSpec {
        context: 0,
        iaf_steps: 0,
        ..spec(GeneratorName::Mlp, 6, 28)
    };
    let flows = [
        spec(GeneratorName::Mlp, 6, 28),
        spec(GeneratorName::Mnist, 6, 28),
        spec(GeneratorName::Svhn, 6, 32),
    ];
    for spec in flows.into_iter().chain([gaussian]) {
        let mut encoder = Encoder::new(&spec, CPU).unwrap();
        shake(&mut encoder, 0.02);
        let side = spec.generator.height as i64;
        let x = Tensor::rand([7, 1, side, side], (Kind::Float, CPU)) * 2.0 - 1.0;
        let noise = Tensor::randn([7, 6], (Kind::Float, CPU));
        let graph = encoder_graph(&spec, &encoder.weights()).unwrap();
        let inputs = [host::to_host(&x), host::to_host(&noise)];
        let exported = evaluate(&runtime, &graph, &inputs).unwrap();
        let (z, _) = encoder.sample(&Observation { x, mask: None }, &noise);
        let z = host::to_host(&z);
        assert_eq!(exported[0].shape, z.shape);
        for (got, expected) in exported[0].data.iter().zip(&z.data) {
            let off = (got - expected).abs();
            assert!(off < 1e-5 * expected.abs().max(1.0), "{got} {expected}");
        }
    }
}

/// Channels read and written, kernel, stride and padding, the first layer to the last.
fn convolutions(spec: &EncoderSpec) -> Vec<[usize; 5]> {
    let layers = spec.features().unwrap().into_iter();
    layers
        .map(|layer| match layer {
            EncoderLayer::Conv {
                in_channels,
                out_channels,
                geometry,
            } => {
                assert_eq!(geometry.pads[0], geometry.pads[1]);
                let [kernel, stride] = [geometry.kernel, geometry.stride];
                [in_channels, out_channels, kernel, stride, geometry.pads[0]]
            }
            EncoderLayer::Linear { .. } => panic!("{layer:?} is no convolution"),
        })
        .collect()
}

#[test]
fn the_papers_table_8() {
    for (config, name, width) in [
        ("svhn-vae", GeneratorName::Svhn, 10),
        ("cifar10-vae", GeneratorName::Cifar10, 64),
    ] {
        let settings = shipped(config);
        let spec = settings.encoder([3, 32, 32]);
        assert_eq!((spec.generator.name, spec.width), (name, width));
        assert_eq!(
            convolutions(&spec),
            [
                [3, width, 3, 1, 1],
                [width, 2 * width, 4, 2, 1],
                [2 * width, 4 * width, 4, 2, 1],
                [4 * width, 8 * width, 4, 2, 1],
            ],
            "{config}"
        );
        // The last convolution is 4 x 4 on 4 x 4 positions.
        assert_eq!(spec.head_inputs().unwrap(), 8 * width * 4 * 4, "{config}");
    }
    let spec = shipped("celeba-vae").encoder([3, 64, 64]);
    assert_eq!(
        convolutions(&spec),
        [
            [3, 64, 4, 2, 1],
            [64, 128, 4, 2, 1],
            [128, 256, 4, 2, 1],
            [256, 256, 4, 2, 1],
        ]
    );
    assert_eq!(spec.head_inputs().unwrap(), 256 * 4 * 4);
}

fn shipped(name: &str) -> Settings {
    let file = format!("{}/configs/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    Settings::load(Some(Path::new(&file)), &[]).unwrap()
}
