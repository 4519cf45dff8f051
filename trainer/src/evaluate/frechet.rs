//! The Fréchet distance of features (Heusel et al., "GANs Trained by a Two Time-Scale Update Rule
//! Converge to a Local Nash Equilibrium", NeurIPS 2017).

use tch::{Kind, Tensor};

/// Mean and covariance of the rows of features.
#[derive(Debug)]
pub struct Moments {
    mean: Tensor,
    covariance: Tensor,
}

impl Moments {
    /// From `features`, (n, F) with n at least 2; the covariance is divided by n - 1.
    pub fn of(features: &Tensor) -> Self {
        let features = features.to_kind(Kind::Double);
        let mean = features.mean_dim([0_i64].as_slice(), false, None);
        let centred = features - &mean;
        let count = centred.size()[0] as f64;
        Self {
            covariance: centred.tr().matmul(&centred) / (count - 1.0),
            mean,
        }
    }

    /// |m - m'|^2 + tr(C + C' - 2 (C C')^(1/2)), in double precision.
    ///
    /// The trace of the root is that of (A C' A)^(1/2) with A = C^(1/2), which is symmetric and has
    /// the same eigenvalues; those below zero are rounding.
    pub fn distance(&self, other: &Self) -> f64 {
        let (values, vectors) = self.covariance.linalg_eigh("L");
        let root = (&vectors * values.clamp_min(0.0).sqrt()).matmul(&vectors.tr());
        let product = root.matmul(&other.covariance).matmul(&root);
        let roots = product.linalg_eigvalsh("L").clamp_min(0.0).sqrt();
        let trace = self.covariance.trace() + other.covariance.trace() - roots.sum(None) * 2.0;
        let shift = (&self.mean - &other.mean).square().sum(None);
        (shift + trace).double_value(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    #[test]
    fn of_diagonal_covariances_it_is_known() {
        // Features without correlation, of variances a and b: (sqrt(a) - sqrt(b))^2 each.
        let square = Tensor::from_slice(&[1.0, 1.0, 1.0, -1.0, -1.0, 1.0, -1.0, -1.0]).view([4, 2]);
        let variance = 4.0_f64 / 3.0;
        let moments = |scales: [f64; 2], shift: f64| {
            Moments::of(&(&square * Tensor::from_slice(&scales) + shift))
        };
        let distance = moments([1.0, 2.0], 0.0).distance(&moments([3.0, 0.5], 0.7));
        let expected = 2.0 * 0.7_f64.powi(2) + variance * (2.0_f64.powi(2) + 1.5_f64.powi(2));
        assert!((distance - expected).abs() < 1e-9, "{distance} {expected}");
    }

    #[test]
    fn of_a_set_and_itself_it_is_zero_with_fewer_images_than_features() {
        tch::manual_seed(1);
        let features = Tensor::randn([10, 30], (Kind::Float, Device::Cpu));
        let moments = Moments::of(&features);
        let distance = moments.distance(&moments);
        assert!(distance.abs() < 1e-5, "{distance}");
    }
}
