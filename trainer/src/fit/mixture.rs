//! The base of a flow, fitted to latents by expectation maximisation (Dempster, Laird and Rubin 1977).

use tch::{Device, Kind, Tensor};

use crate::model::Mixture;

/// A component stands for at least so many latents on average: fewer say little about a covariance.
const FEWEST_LATENTS: i64 = 100;
/// A component's covariance is drawn to the mean one of all components as if that had been seen in so many latents.
const SHARED_LATENTS: f64 = 100.0;
/// Steps of k-means, from latents drawn at random, to the first shares.
const START_STEPS: usize = 8;
/// Steps of expectation maximisation, at most.
const STEPS: usize = 20;
/// It ends where a step raises the mean log-density by less than this, in nats.
const SMALLEST_GAIN: f64 = 1e-3;
/// Latents whose shares are computed at the same time.
const AT_ONCE: i64 = 1024;
/// A smaller share of a latent is left out of covariances.
const SMALLEST_SHARE: f64 = 1e-6;

/// A mixture of at most `components` Gaussians, with the largest likelihood of the rows of `z0` that is found from a
/// start that torch's generator draws. Variances in any direction are at least `least_variance`.
pub(super) fn fit(z0: &Tensor, components: usize, least_variance: f64) -> Mixture {
    let _guard = tch::no_grad_guard();
    let z0 = z0.to_kind(Kind::Float);
    let rows = z0.size()[0];
    let components = (components as i64).clamp(1, (rows / FEWEST_LATENTS).max(1));
    let mut shares = by_nearest_mean(&z0, components);
    let mut before = f64::NEG_INFINITY;
    let mut mixture = most_likely(&z0, &shares, least_variance);
    for _ in 0..STEPS {
        let chunks = z0.split(AT_ONCE, 0);
        let joint = chunks.iter().map(|chunk| mixture.joint_log_density(chunk));
        let joint = Tensor::cat(&joint.collect::<Vec<_>>(), 0);
        let log_density = joint.logsumexp([1i64].as_slice(), true);
        shares = (joint - &log_density).exp();
        mixture = most_likely(&z0, &shares, least_variance);
        let mean = log_density.mean(Kind::Double).double_value(&[]);
        if mean - before < SMALLEST_GAIN {
            break;
        }
        before = mean;
    }
    mixture
}

/// 1 for the component whose mean is nearest, 0 for others, of shape (rows, components), by k-means.
fn by_nearest_mean(z0: &Tensor, components: i64) -> Tensor {
    let (rows, device) = (z0.size()[0], z0.device());
    let drawn = Tensor::randperm(rows, (Kind::Int64, Device::Cpu)).narrow(0, 0, components);
    let mut means = z0.index_select(0, &drawn.to_device(device));
    let mut shares = Tensor::new();
    for _ in 0..START_STEPS {
        let squares = means
            .square()
            .sum_dim_intlist([1i64].as_slice(), false, None);
        let distance = squares - z0.matmul(&means.tr()) * 2.0;
        shares = distance
            .argmin(1, false)
            .one_hot(components)
            .to_kind(Kind::Float);
        let counts = shares
            .sum_dim_intlist([0i64].as_slice(), false, None)
            .clamp_min(1.0);
        means = shares.tr().matmul(z0) / counts.unsqueeze(1);
    }
    shares
}

/// The mixture with the largest likelihood if each latent belongs to components by its `shares`; without components
/// that have less than one latent.
fn most_likely(z0: &Tensor, shares: &Tensor, least_variance: f64) -> Mixture {
    let [rows, dim] = [z0.size()[0], z0.size()[1]];
    let counts = shares.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
    let kept = counts.ge(1.0).nonzero().squeeze_dim(1);
    let counts = counts.index_select(0, &kept);
    let shares = shares.index_select(1, &kept);
    let means = shares.tr().matmul(z0) / counts.to_kind(Kind::Float).unsqueeze(1);
    let scatter = (0..means.size()[0]).map(|component| {
        let share = shares.select(1, component);
        let members = share.gt(SMALLEST_SHARE).nonzero().squeeze_dim(1);
        let from_mean = z0.index_select(0, &members) - means.get(component);
        let weighted = &from_mean * share.index_select(0, &members).unsqueeze(1);
        weighted.tr().matmul(&from_mean)
    });
    let scatter = Tensor::stack(&scatter.collect::<Vec<_>>(), 0).to_kind(Kind::Double);
    let shared = scatter.sum_dim_intlist([0i64].as_slice(), true, None) / rows as f64;
    let identity = Tensor::eye(dim, (Kind::Double, z0.device()));
    let covariances = (scatter + shared * SHARED_LATENTS)
        / (&counts + SHARED_LATENTS).view([-1, 1, 1])
        + &identity * least_variance;
    let factors = covariances.linalg_cholesky(false);
    let whitening = factors.linalg_solve_triangular(&identity, false, true, false);
    Mixture {
        log_weights: (&counts / counts.sum(Kind::Double))
            .log()
            .to_kind(Kind::Float),
        means,
        whitening: whitening.to_kind(Kind::Float),
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::fit;

    const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

    /// Latents of three Gaussians far from each other: so many of each, their means and a factor of their covariance.
    fn latents() -> (Tensor, [(i64, [f32; 2]); 3], Tensor) {
        let parts = [(1500, [0.0, 0.0]), (3000, [20.0, 0.0]), (4500, [0.0, 30.0])];
        let factor = Tensor::from_slice(&[2.0_f32, 0.0, 1.5, 0.5]).view([2, 2]);
        let z = parts.map(|(count, mean)| {
            Tensor::randn([count, 2], OPTIONS).matmul(&factor.tr()) + Tensor::from_slice(&mean)
        });
        (Tensor::cat(&z, 0), parts, factor)
    }

    /// A start with two of the means in one Gaussian may end there; more components than Gaussians leave none out.
    #[test]
    fn a_mixture_is_as_likely_as_the_one_that_latents_are_of() {
        tch::manual_seed(1);
        let (z, parts, factor) = latents();
        let mixture = fit(&z, 12, 1e-6);
        let whitening = factor.inverse();
        let log_det = whitening
            .diagonal(0, 0, 1)
            .log()
            .sum(None)
            .double_value(&[]);
        let joint = parts.map(|(count, mean)| {
            let white = (&z - Tensor::from_slice(&mean)).matmul(&whitening.tr());
            let square = white
                .square()
                .sum_dim_intlist([1i64].as_slice(), false, None);
            let log_weight = (count as f64 / 9000.0).ln();
            square * -0.5 + (log_weight + log_det - std::f64::consts::TAU.ln())
        });
        let truth = Tensor::stack(&joint, 1).logsumexp([1i64].as_slice(), false);
        let fitted = mixture.log_density(&z);
        let difference = (fitted - truth).mean(None).double_value(&[]);
        // 12 components have 71 numbers; each gains half a nat of all latents on average.
        assert!((-0.01..0.02).contains(&difference), "{difference}");
        let weights = mixture.log_weights.exp().sum(None).double_value(&[]);
        assert!((weights - 1.0).abs() < 1e-5, "{weights}");
    }

    #[test]
    fn one_gaussian_has_the_mean_and_covariance_of_all() {
        tch::manual_seed(2);
        let (z, ..) = latents();
        let mixture = fit(&z, 1, 0.25);
        assert!(mixture.means.get(0).allclose(
            &z.mean_dim([0i64].as_slice(), false, None),
            1e-4,
            1e-4,
            false
        ));
        let precision = mixture
            .whitening
            .get(0)
            .tr()
            .matmul(&mixture.whitening.get(0));
        let expected =
            z.tr().cov(0, None::<Tensor>, None::<Tensor>) + Tensor::eye(2, OPTIONS) * 0.25;
        assert!(
            precision
                .matmul(&expected)
                .allclose(&Tensor::eye(2, OPTIONS), 1e-2, 1e-2, false)
        );
    }

    /// Few latents, and latents without any variance in a direction.
    #[test]
    fn a_mixture_of_little_has_a_density() {
        tch::manual_seed(3);
        let line = Tensor::randn([150, 1], OPTIONS) * Tensor::from_slice(&[1.0_f32, 0.0]);
        for z in [line.narrow(0, 0, 1), line.narrow(0, 0, 40), line] {
            let mixture = fit(&z, 240, 0.01);
            assert_eq!(mixture.means.size(), [1, 2]);
            assert!(bool::try_from(mixture.log_density(&z).isfinite().all()).unwrap());
        }
    }
}
