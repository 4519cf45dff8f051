//! The base of a flow, fitted to latents by expectation maximisation (Dempster, Laird and Rubin 1977).

use tch::{Device, Kind, Tensor};

use crate::model::Mixture;

/// A component stands for at least so many latents on average: fewer say little about a covariance.
const FEWEST_LATENTS: i64 = 100;
/// A component's covariance is shrunk to the pooled one, as if that had been seen in so many latents.
const SHRINKAGE_LATENTS: f64 = 100.0;
/// Steps of k-means, from latents drawn at random, to the first responsibilities.
const K_MEANS_STEPS: usize = 8;
/// Steps of expectation maximisation, at most.
const STEPS: usize = 20;
/// It ends where a step raises the mean log-density by less than this, in nats.
const SMALLEST_GAIN: f64 = 1e-3;
/// Latents whose responsibilities are computed at the same time. Of 1,024 with 240 Gaussians of 40 values, each took five
/// times as long: what is computed of so many does not stay in the cache.
const AT_ONCE: i64 = 256;
/// Exponents are at least this, far below any that counts: exponentials that underflow take many times as long.
const SMALLEST_EXPONENT: f64 = -50.0;
/// A smaller responsibility is left out of covariances.
const SMALLEST_RESPONSIBILITY: f64 = 1e-6;

/// No mixture can be fitted to the latents.
#[derive(Debug, thiserror::Error)]
pub enum MixtureError {
    /// A latent is not finite.
    #[error(
        "some latents are not finite, so no mixture can be fitted to them: their chains diverged; lower \
         learning.langevin.step_size or raise model.sigma"
    )]
    NotFinite,
    /// A covariance is not positive definite.
    #[error(
        "a Gaussian of the mixture has no positive definite covariance: some latents lie far from all others; raise \
         model.sigma, or fit fewer model.flow_components"
    )]
    Covariance,
}

/// A mixture of at most `components` Gaussians of the rows of `z0`, by expectation maximisation with covariances that
/// are shrunk to the pooled one, from a start that torch's generator draws. `added_variance` is added to the variance
/// in every direction.
///
/// # Errors
/// When latents are not finite, or a covariance is not positive definite.
pub(super) fn fit(
    z0: &Tensor,
    components: usize,
    added_variance: f64,
) -> Result<Mixture, MixtureError> {
    let _guard = tch::no_grad_guard();
    let z0 = z0.to_kind(Kind::Float);
    if z0.isfinite().all().int64_value(&[]) == 0 {
        return Err(MixtureError::NotFinite);
    }
    let rows = z0.size()[0];
    let components = (components as i64).clamp(1, (rows / FEWEST_LATENTS).max(1));
    let mut before = f64::NEG_INFINITY;
    let mut mixture = maximise(&z0, &k_means(&z0, components), added_variance)?;
    for _ in 0..STEPS {
        let chunks = z0.split(AT_ONCE, 0);
        let expected = chunks.iter().map(|chunk| expect(&mixture, chunk));
        let (responsibilities, log_density): (Vec<_>, Vec<_>) = expected.unzip();
        mixture = maximise(&z0, &Tensor::cat(&responsibilities, 0), added_variance)?;
        let log_density = Tensor::cat(&log_density, 0);
        let mean = log_density.mean(Kind::Double).double_value(&[]);
        if mean - before < SMALLEST_GAIN {
            break;
        }
        before = mean;
    }
    Ok(mixture)
}

/// Responsibilities of shape (rows, components): 1 for the component whose mean is nearest, 0 for others.
fn k_means(z0: &Tensor, components: i64) -> Tensor {
    let (rows, device) = (z0.size()[0], z0.device());
    let drawn = Tensor::randperm(rows, (Kind::Int64, Device::Cpu)).narrow(0, 0, components);
    let mut means = z0.index_select(0, &drawn.to_device(device));
    let mut nearest = Tensor::new();
    for _ in 0..K_MEANS_STEPS {
        let squares = means
            .square()
            .sum_dim_intlist([1i64].as_slice(), false, None);
        let distance = squares - z0.matmul(&means.tr()) * 2.0;
        nearest = distance
            .argmin(1, false)
            .one_hot(components)
            .to_kind(Kind::Float);
        let counts = nearest.sum_dim_intlist([0i64].as_slice(), false, None);
        means = nearest.tr().matmul(z0) / counts.clamp_min(1.0).unsqueeze(1);
    }
    nearest
}

/// The E step: responsibilities, of shape (rows, components), and log-densities, of shape (rows, 1).
fn expect(mixture: &Mixture, z0: &Tensor) -> (Tensor, Tensor) {
    let joint = mixture.joint_log_density(z0);
    let largest = joint.amax([1i64].as_slice(), true);
    let kernels = (joint - &largest).clamp_min(SMALLEST_EXPONENT).exp();
    let sum = kernels.sum_dim_intlist([1i64].as_slice(), true, None);
    (kernels / &sum, largest + sum.log())
}

/// The M step: the mixture of `responsibilities`, of shape (rows, components), without components that have less than
/// one latent.
fn maximise(
    z0: &Tensor,
    responsibilities: &Tensor,
    added_variance: f64,
) -> Result<Mixture, MixtureError> {
    let [rows, dim] = [z0.size()[0], z0.size()[1]];
    let counts = responsibilities.sum_dim_intlist([0i64].as_slice(), false, Kind::Double);
    let kept = counts.ge(1.0).nonzero().squeeze_dim(1);
    let counts = counts.index_select(0, &kept);
    let responsibilities = responsibilities.index_select(1, &kept);
    let means = responsibilities.tr().matmul(z0) / counts.to_kind(Kind::Float).unsqueeze(1);
    let scatter = (0..means.size()[0]).map(|component| {
        let of_component = responsibilities.select(1, component);
        let members = of_component
            .gt(SMALLEST_RESPONSIBILITY)
            .nonzero()
            .squeeze_dim(1);
        let from_mean = (z0.index_select(0, &members) - means.get(component)).to_kind(Kind::Double);
        let weighted = &from_mean * of_component.index_select(0, &members).unsqueeze(1);
        weighted.tr().matmul(&from_mean)
    });
    let scatter = Tensor::stack(&scatter.collect::<Vec<_>>(), 0);
    let pooled = scatter.sum_dim_intlist([0i64].as_slice(), true, None) / rows as f64;
    let identity = Tensor::eye(dim, (Kind::Double, z0.device()));
    let covariances = (scatter + pooled * SHRINKAGE_LATENTS)
        / (&counts + SHRINKAGE_LATENTS).view([-1, 1, 1])
        + &identity * added_variance;
    let factors = covariances
        .f_linalg_cholesky(false)
        .map_err(|_| MixtureError::Covariance)?;
    let whitening = factors.linalg_solve_triangular(&identity, false, true, false);
    Ok(Mixture {
        log_weights: (&counts / counts.sum(Kind::Double))
            .log()
            .to_kind(Kind::Float),
        means,
        whitening: whitening.to_kind(Kind::Float),
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::{MixtureError, fit};

    const OPTIONS: (Kind, Device) = (Kind::Float, Device::Cpu);

    /// Latents of three Gaussians far from each other: so many of each, their means and a factor of their covariance.
    fn latents() -> (Tensor, [(i64, [f32; 2]); 3], Tensor) {
        let parts = [(1500, [0.0, 0.0]), (3000, [20.0, 0.0]), (4500, [0.0, 30.0])];
        let factor = Tensor::from_slice(&[2.0_f32, 0.0, 1.5, 0.7]).view([2, 2]);
        let z = parts.map(|(count, mean)| {
            Tensor::randn([count, 2], OPTIONS).matmul(&factor.tr()) + Tensor::from_slice(&mean)
        });
        (Tensor::cat(&z, 0), parts, factor)
    }

    /// With more components than Gaussians, because k-means may start with two of few means in one Gaussian and stay there.
    #[test]
    fn a_mixture_is_as_likely_as_the_one_that_latents_are_of() {
        tch::manual_seed(1);
        let (z, parts, factor) = latents();
        let mixture = fit(&z, 12, 1e-6).unwrap();
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
        let mixture = fit(&z, 1, 25.0).unwrap();
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
            z.tr().cov(0, None::<Tensor>, None::<Tensor>) + Tensor::eye(2, OPTIONS) * 25.0;
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
            let mixture = fit(&z, 240, 0.01).unwrap();
            assert_eq!(mixture.means.size(), [1, 2]);
            assert!(bool::try_from(mixture.log_density(&z).isfinite().all()).unwrap());
        }
    }

    /// Of two Gaussians of 20 and 20,000 latents, the shape of the small one is mostly that of the large one.
    #[test]
    fn a_component_of_few_latents_is_shrunk_to_the_pooled_covariance() {
        tch::manual_seed(4);
        let stretched = |count, factors: [f32; 2]| {
            Tensor::randn([count, 2], OPTIONS) * Tensor::from_slice(&factors)
        };
        let far = Tensor::from_slice(&[1000.0_f32, 0.0]);
        let z = Tensor::cat(
            &[
                stretched(20_000, [1.0, 3.0]),
                stretched(20, [3.0, 1.0]) + far,
            ],
            0,
        );
        let mixture = fit(&z, 2, 1e-6).unwrap();
        let small = mixture.log_weights.argmin(0, false).int64_value(&[]);
        let whitening = mixture.whitening.get(small);
        let covariance = whitening.tr().matmul(&whitening).inverse();
        let [wide, high] = [0, 1].map(|axis| covariance.double_value(&[axis, axis]));
        // (20 * 9 + 100 * 1) / 120 and (20 * 1 + 100 * 9) / 120.
        assert!(
            (1.5..3.5).contains(&wide) && (6.5..9.0).contains(&high),
            "{wide} {high}"
        );
    }

    #[test]
    fn latents_that_diverged_are_refused() {
        tch::manual_seed(5);
        let z = Tensor::randn([300, 2], OPTIONS);
        let _ = z.get(7).fill_(f64::NAN);
        assert!(matches!(fit(&z, 3, 0.01), Err(MixtureError::NotFinite)));
    }
}
