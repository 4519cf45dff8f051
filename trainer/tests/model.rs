//! The identities that flows, densities and Langevin gradients must satisfy, in double precision.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use lfbm_bundle::manifest::PriorSampling;
use lfbm_model::{GeneratorName, GeneratorSpec};
use lfbm_trainer::model::density::log_likelihood;
use lfbm_trainer::model::parameters::{FlatParameters, Parameters, convert, gradients};
use lfbm_trainer::model::{
    ActNorm, Architecture, Coupling, Energy, Flow, Langevin, LuLinear, Model, Observation,
    PriorSpec, Transform,
};
use tch::{Device, Kind, Tensor};

const CPU: Device = Device::Cpu;
const DOUBLE: (Kind, Device) = (Kind::Double, CPU);

/// Shakes a network that is new, in double precision.
fn shake(network: &mut dyn Parameters) {
    convert(network, Kind::Double);
    common::shake(network, 0.3);
}

fn flow(dim: i64) -> Flow {
    let mut flow = Flow::new(dim, 3, 8, CPU);
    shake(&mut flow);
    flow
}

const FLOW: PriorSpec = PriorSpec::Flow {
    steps: 2,
    hidden: 8,
};
const EBM: PriorSpec = PriorSpec::Ebm {
    hidden: 8,
    sampling: SAMPLING,
};
const SAMPLING: PriorSampling = PriorSampling {
    steps: 60,
    step_size: 0.4,
};
/// Every generator, and every prior.
const MODELS: [(GeneratorName, PriorSpec); 4] = [
    (GeneratorName::Mlp, FLOW),
    (GeneratorName::Mnist, FLOW),
    (GeneratorName::Mlp, EBM),
    (GeneratorName::Mlp, PriorSpec::Gaussian),
];

fn model(name: GeneratorName, prior: PriorSpec, latent_dim: usize) -> Model {
    let generator = GeneratorSpec {
        name,
        latent_dim,
        width: 2,
        channels: 1,
        height: 28,
        width_px: 28,
    };
    let architecture = Architecture {
        generator,
        prior,
        sigma: 0.3,
    };
    let mut model = Model::new(&architecture, CPU).expect("a known architecture");
    shake(&mut model.prior);
    model.set_kind(Kind::Double);
    model
}

fn images(rows: i64) -> Tensor {
    Tensor::rand([rows, 1, 28, 28], DOUBLE) * 2.0 - 1.0
}

fn half_mask(rows: i64) -> Tensor {
    Tensor::rand([rows, 1, 28, 28], DOUBLE)
        .gt(0.5)
        .to_kind(Kind::Double)
}

fn assert_close(what: &str, left: &Tensor, right: &Tensor, tolerance: f64) {
    assert_eq!(left.size(), right.size(), "{what}: shapes");
    let scale = right.abs().max().double_value(&[]).max(1.0);
    let distance = (left - right).abs().max().double_value(&[]) / scale;
    assert!(
        distance <= tolerance,
        "{what}: off by {distance:e}, allowed {tolerance:e}"
    );
}

/// log |det| of the central-difference Jacobian of `map` at the one row `z`.
fn numerical_log_det(map: impl Fn(&Tensor) -> Tensor, z: &Tensor) -> f64 {
    let dim = z.size()[1];
    let step = 1e-5;
    let columns: Vec<Tensor> = (0..dim)
        .map(|coordinate| {
            let mut nudge = Tensor::zeros([1, dim], DOUBLE);
            let _ = nudge.narrow(1, coordinate, 1).fill_(step);
            let column = (map(&(z + &nudge)) - map(&(z - &nudge))) / (2.0 * step);
            nudge = column;
            nudge.squeeze_dim(0)
        })
        .collect();
    let (_, log_abs_det) = Tensor::stack(&columns, 1).slogdet();
    log_abs_det.double_value(&[])
}

#[test]
fn every_transform_inverts_itself_and_knows_its_jacobian() {
    let _guard = common::seeded(1);
    for dim in [2, 5, 8] {
        let mut actnorm = ActNorm::new(dim, CPU);
        let mut linear = LuLinear::new(dim, CPU);
        let mut coupling = Coupling::new(dim, 8, CPU);
        shake(&mut actnorm);
        shake(&mut linear);
        shake(&mut coupling);
        let flow = flow(dim);
        let transforms: [(&str, &dyn Transform); 4] = [
            ("actnorm", &actnorm),
            ("lu", &linear),
            ("coupling", &coupling),
            ("flow", &flow),
        ];
        for (name, transform) in transforms {
            let z = Tensor::randn([4, dim], DOUBLE);
            let (out, log_det) = transform.forward(&z);
            let (back, back_log_det) = transform.inverse(&out);
            assert_close(&format!("{name}: inverse of forward"), &back, &z, 1e-9);
            assert_close(
                &format!("{name}: log-determinants"),
                &(-&back_log_det),
                &log_det,
                1e-9,
            );

            let log_det = log_det.expand([4], true);
            for row in 0..4 {
                let z = z.narrow(0, row, 1);
                let numerical = numerical_log_det(|z| transform.forward(z).0, &z);
                let error = (log_det.double_value(&[row]) - numerical).abs();
                assert!(
                    error < 1e-6,
                    "{name}, dim {dim}: log-determinant off by {error:e}"
                );
                let out = out.narrow(0, row, 1);
                let numerical = numerical_log_det(|out| transform.inverse(out).0, &out);
                let error = (log_det.double_value(&[row]) + numerical).abs();
                assert!(
                    error < 1e-6,
                    "{name}, dim {dim}: inverse's determinant off by {error:e}"
                );
            }
        }
    }
}

#[test]
fn the_prior_is_a_density() {
    let _guard = common::seeded(2);
    let flow = flow(2);
    // Hyperbolic sines of a grid: fine where the flow has its peaks, and out to its tails.
    let (points, area) = common::plane(800, 8.0);
    let areas = points.cosh().prod_dim_int(1, false, None) * area;
    let density = flow.log_density(&points.sinh()).exp();
    let mass = (density * areas).sum(None).double_value(&[]);
    assert!((mass - 1.0).abs() < 1e-3, "integrates to {mass}");
}

/// log Z by quadrature, and the mean of -log p over `z` with it, for an energy of two coordinates.
fn mean_negative_log_density(energy: &Energy, z: &Tensor) -> f64 {
    let (points, area) = common::plane(300, 8.0);
    let log_mass = common::log_integral(&energy.log_density(&points), area);
    log_mass - energy.log_density(z).mean(None).double_value(&[])
}

#[test]
fn an_energy_learns_along_the_slope_of_its_likelihood() {
    let _guard = common::seeded(9);
    // Chains long and careful enough to reach the prior, and enough of them.
    let sampling = PriorSampling {
        steps: 200,
        step_size: 0.2,
    };
    let mut energy = Energy::new(2, 4, sampling, CPU);
    shake(&mut energy);
    energy.set_kind(Kind::Double);
    let z = Tensor::randn([20_000, 2], DOUBLE) * 0.5 + 1.0;

    let parameters = FlatParameters::bind(&mut energy);
    let learned = gradients(&energy.contrast(&z), &[&parameters]).remove(0);
    let step = 1e-4;
    let count = parameters.flat().size()[0];
    let slopes: Vec<f64> = (0..count)
        .map(|index| {
            let at = |value: f64| {
                let _guard = tch::no_grad_guard();
                let mut weight = parameters.flat().narrow(0, index, 1);
                weight += value;
                let density = mean_negative_log_density(&energy, &z);
                weight -= value;
                density
            };
            (at(step) - at(-step)) / (2.0 * step)
        })
        .collect();
    let slopes = Tensor::from_slice(&slopes);
    assert!(slopes.abs().max().double_value(&[]) > 0.1, "{slopes}");
    assert_close("slope in the weights", &learned, &slopes, 0.03);
}

#[test]
fn actnorm_starts_from_the_data() {
    let _guard = common::seeded(3);
    let z = Tensor::randn([256, 6], (Kind::Float, CPU)) * 3.0 + 5.0;
    let mut actnorm = ActNorm::new(6, CPU);
    actnorm.initialise(&z);
    let y = actnorm.forward(&z).0;
    let columns = [0i64];
    let mean = y.mean_dim(columns.as_slice(), false, None);
    let std = y.std_dim(columns.as_slice(), false, false);
    assert_close("mean", &mean, &mean.zeros_like(), 1e-4);
    assert_close("std", &std, &std.ones_like(), 1e-4);
}

#[test]
fn actnorm_of_too_few_rows_stays_the_identity() {
    let _guard = common::seeded(3);
    for rows in [1, 2, 3] {
        let mut actnorm = ActNorm::new(6, CPU);
        actnorm.initialise(&Tensor::randn([rows, 6], (Kind::Float, CPU)));
        let z = Tensor::randn([4, 6], (Kind::Float, CPU));
        assert_close("y", &actnorm.forward(&z).0, &z, 1e-6);
    }
}

#[test]
fn a_frozen_model_is_the_model() {
    let _guard = common::seeded(4);
    for (name, prior) in MODELS {
        let model = model(name, prior, 6);
        let posterior = model.freeze();
        let (rows, mask) = (5, half_mask(5));
        let seen = Observation {
            x: images(rows),
            mask: Some(mask),
        };
        let z = Tensor::randn([rows, 6], DOUBLE).set_requires_grad(true);

        let prior = model.prior.log_density(&z);
        let image = model.generator.forward(&z);
        let likelihood = log_likelihood(&seen.x, &image, seen.mask.as_ref(), model.sigma);
        let joint = (&prior + &likelihood).sum(None);
        let autograd = Tensor::run_backward(&[&joint], &[&z], false, false);

        let z = z.detach();
        let (frozen_prior, frozen_likelihood) = posterior.log_densities(&z, &seen);
        assert_close("log p(z)", &frozen_prior, &prior.detach(), 1e-12);
        assert_close(
            "log p(x|z)",
            &frozen_likelihood,
            &likelihood.detach(),
            1e-12,
        );
        assert_close(
            "gradient",
            &posterior.gradient(&z, &seen),
            &autograd[0],
            1e-12,
        );
    }
}

#[test]
fn the_gradient_is_the_slope_of_the_density() {
    let _guard = common::seeded(5);
    for (name, prior) in MODELS {
        for mask in [None, Some(half_mask(3))] {
            let posterior = model(name, prior, 4).freeze();
            let seen = Observation { x: images(3), mask };
            let joint = |z: &Tensor| {
                let (prior, likelihood) = posterior.log_densities(z, &seen);
                prior + likelihood
            };
            let z = Tensor::randn([3, 4], DOUBLE);
            let step = 1e-6;
            let slopes: Vec<Tensor> = (0..4)
                .map(|coordinate| {
                    let nudge = Tensor::zeros([3, 4], DOUBLE);
                    let _ = nudge.narrow(1, coordinate, 1).fill_(step);
                    (joint(&(&z + &nudge)) - joint(&(&z - &nudge))) / (2.0 * step)
                })
                .collect();
            let slopes = Tensor::stack(&slopes, 1);
            assert_close("gradient", &posterior.gradient(&z, &seen), &slopes, 1e-5);
        }
    }
}

#[test]
fn a_mask_of_ones_is_no_mask() {
    let _guard = common::seeded(6);
    let posterior = model(GeneratorName::Mlp, FLOW, 4).freeze();
    let (x, z) = (images(3), Tensor::randn([3, 4], DOUBLE));
    let whole = Observation {
        x: x.shallow_clone(),
        mask: None,
    };
    let masked = Observation {
        mask: Some(Tensor::ones([3, 1, 28, 28], DOUBLE)),
        x,
    };
    let (_, one) = posterior.log_densities(&z, &whole);
    let (_, other) = posterior.log_densities(&z, &masked);
    assert_close("log p(x|z)", &one, &other, 1e-12);
    assert_close(
        "z",
        &posterior.gradient(&z, &whole),
        &posterior.gradient(&z, &masked),
        1e-12,
    );
}

#[test]
fn a_hidden_pixel_changes_nothing() {
    let _guard = common::seeded(7);
    let posterior = model(GeneratorName::Mlp, FLOW, 4).freeze();
    let (x, mask, z) = (images(3), half_mask(3), Tensor::randn([3, 4], DOUBLE));
    let other = &x + (mask.ones_like() - &mask) * 17.0;
    let seen = Observation {
        x,
        mask: Some(mask.shallow_clone()),
    };
    let changed = Observation {
        x: other,
        mask: Some(mask),
    };
    assert_eq!(
        posterior.gradient(&z, &seen),
        posterior.gradient(&z, &changed)
    );
    assert_eq!(
        posterior.log_densities(&z, &seen).1,
        posterior.log_densities(&z, &changed).1
    );
}

#[test]
fn langevin_climbs_and_cuts_rows_that_run_away() {
    let _guard = common::seeded(8);
    let posterior = model(GeneratorName::Mlp, FLOW, 4).freeze();
    let seen = Observation {
        x: images(16),
        mask: None,
    };
    let langevin = Langevin {
        steps: 30,
        step_size: 0.02,
        noise_free_steps: 30,
        max_gradient_norm: None,
        from_encoder: false,
    };
    let noise = langevin.draw_noise(16, 4, &seen.x);
    let joint = |z: &Tensor| {
        let (prior, likelihood) = posterior.log_densities(z, &seen);
        (prior + likelihood).mean(None).double_value(&[])
    };
    let end = langevin.walk(|z| posterior.gradient(z, &seen), &noise);
    assert!(
        joint(&end) > joint(&noise.get(0)),
        "without noise it is gradient ascent"
    );

    let step = Langevin {
        steps: 1,
        step_size: 1.0,
        max_gradient_norm: Some(0.5),
        ..langevin
    };
    let moved = step.walk(|z| posterior.gradient(z, &seen), &noise) - noise.get(0);
    let longest = moved
        .norm_scalaropt_dim(2, [1i64].as_slice(), false)
        .max()
        .double_value(&[]);
    assert!(longest <= 0.25 + 1e-9, "s^2/2 times 0.5, moved {longest}");
}
