use lfbm_model::{GeneratorName, GeneratorSpec};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use tch::{Device, Kind};

use super::*;
use crate::model::parameters::Parameters;
use crate::model::{Architecture, Model, PriorSpec};

const LATENT: i64 = 3;
const VALUES: i64 = 12;

fn architecture(sigma: f64) -> Architecture {
    Architecture {
        generator: GeneratorSpec {
            name: GeneratorName::Features,
            latent_dim: LATENT as usize,
            width: 16,
            channels: VALUES as usize,
            height: 1,
            width_px: 1,
        },
        prior: PriorSpec::Gaussian,
        sigma,
    }
}

/// A posterior of N(0, I) and x = diag(`scales`) z + N(0, sigma^2 I): -log p(x, z) has the curvatures
/// 1 + scale^2 / sigma^2.
fn quadratic(scales: [f64; LATENT as usize], sigma: f64) -> Posterior {
    let mut model = Model::new(&architecture(sigma), Device::Cpu).unwrap();
    model.set_kind(Kind::Double);
    let _guard = tch::no_grad_guard();
    model.generator.visit(&mut |name, _, tensor| {
        let _ = tensor.zero_();
        match name {
            // So large that every unit stays where the leaky ReLU is the identity.
            "layers.0.bias" => drop(tensor.fill_(100.0)),
            "layers.2.weight" => {
                for (index, scale) in (0..).zip(scales) {
                    let _ = tensor.get(index).get(index).fill_(scale);
                }
            }
            name if name.ends_with("weight") => {
                for index in 0..LATENT {
                    let _ = tensor.get(index).get(index).fill_(1.0);
                }
            }
            _ => {}
        }
    });
    model.freeze()
}

fn latents() -> (Tensor, Observation) {
    let options = (Kind::Double, Device::Cpu);
    let z = Tensor::from_slice(&[1.0, -0.5, 0.8, -0.3, 0.9, 0.4]).view([2, LATENT]);
    let x = Tensor::zeros([2, VALUES, 1, 1], options);
    (z, Observation { x, mask: None })
}

fn adaptation(largest_step_size: f64) -> Adaptation {
    let spec = AdaptationSpec {
        learn_sigma: true,
        adapt_step_size: true,
    };
    Adaptation::new(spec, largest_step_size)
}

#[test]
fn the_largest_curvature_of_a_quadratic_posterior_is_found() {
    let (z, seen) = latents();
    for (scales, sigma) in [([3.0, 1.0, 0.5], 0.5), ([0.2, 2.0, 0.1], 0.1)] {
        let largest = scales.iter().copied().fold(0.0, f64::max);
        let expected = 1.0 + largest * largest / (sigma * sigma);
        let found = curvature(&quadratic(scales, sigma), &z, &seen);
        assert!(
            (found / expected - 1.0).abs() < 1e-3,
            "{found}, expected {expected}"
        );
    }
}

#[test]
fn the_step_size_falls_at_once_and_rises_to_what_is_wanted() {
    let (z, seen) = latents();
    let adaptation = adaptation(0.3);
    let posterior = quadratic([3.0, 1.0, 0.5], 0.5);
    let wanted = (2.0 / 37.0_f64).sqrt();
    let fallen = adaptation.step_size(0.3, &posterior, &z, &seen);
    assert!((fallen - wanted).abs() < 1e-3, "{fallen}");
    let mut step_size = 0.01;
    for _ in 0..60 {
        let next = adaptation.step_size(step_size, &posterior, &z, &seen);
        assert!(next >= step_size && next < wanted + 1e-3, "{next}");
        step_size = next;
    }
    assert!((step_size - wanted).abs() < 1e-3, "{step_size}");
}

#[test]
fn the_step_size_never_exceeds_that_of_the_settings() {
    let (z, seen) = latents();
    // Nearly flat: the curvature alone would allow 1.4.
    let posterior = quadratic([0.1, 0.1, 0.1], 1.0);
    for start in [0.001, 0.29, 0.3] {
        let mut step_size = start;
        for _ in 0..60 {
            step_size = adaptation(0.3).step_size(step_size, &posterior, &z, &seen);
            assert!(step_size <= 0.3, "{step_size} from {start}");
        }
        assert!(step_size > 0.29, "{step_size} from {start}");
    }
}

#[test]
fn what_is_not_adapted_stays() {
    let off = Adaptation::new(AdaptationSpec::default(), 0.1);
    assert!((0..100).all(|iteration| !off.measures(iteration)));
    assert_eq!(off.sigma(0.16, 4.0, 1.0), 0.16);
    let on = adaptation(0.1);
    assert_eq!(on.sigma(0.16, f64::NAN, 1.0), 0.16, "a batch that diverged");
    assert!(
        on.sigma(0.02, 0.0, 1.0) >= SMALLEST_SIGMA,
        "a perfect fit ends at a part of x"
    );
}

#[test]
fn sigma_reaches_the_noise_of_a_known_generator() {
    const NOISE: f32 = 0.4;
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    for start in [0.05, 1.5] {
        let mut sigma = start;
        for _ in 0..600 {
            // 1536 values of x around g(z), whose own deviation is 2.
            let draws = (0..1536).map(|_| {
                let [z, noise]: [f32; 2] = [(); 2].map(|()| StandardNormal.sample(&mut rng));
                (2.0 * z, NOISE * noise)
            });
            let (mut residual, mut square) = (0.0, 0.0);
            for (generated, noise) in draws {
                residual += f64::from(noise).powi(2) / 1536.0;
                square += f64::from(generated + noise).powi(2) / 1536.0;
            }
            sigma = adaptation(0.1).sigma(sigma, residual, square);
        }
        let error = sigma / f64::from(NOISE) - 1.0;
        assert!(error.abs() < 0.03, "sigma ended at {sigma} from {start}");
    }
}
