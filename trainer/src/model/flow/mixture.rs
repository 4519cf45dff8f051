//! Mixtures of Gaussians with a covariance each, as the base of a flow.

use std::f64::consts::TAU;

use lfbm_model::MixtureWeights;
use tch::{Kind, Tensor};

use crate::model::host::to_host;

/// `log p(z0) = log sum_k weight_k N(z0; mean_k, covariance_k)`, K components in d dimensions. Fitted by
/// expectation maximisation, not by gradients.
#[derive(Debug)]
pub struct Mixture {
    /// Of shape (K).
    pub(crate) log_weights: Tensor,
    /// Of shape (K, d).
    pub(crate) means: Tensor,
    /// Inverses of the covariances' lower Cholesky factors, of shape (K, d, d).
    pub(crate) whitening: Tensor,
}

impl Mixture {
    /// log p(z0), of shape (rows). Differentiable by autograd.
    pub fn log_density(&self, z0: &Tensor) -> Tensor {
        self.joint(&self.whitened(z0))
            .logsumexp([1i64].as_slice(), false)
    }

    /// d log p(z0) / d z0, of shape (rows, d): of each component, by its share of the density.
    pub fn gradient(&self, z0: &Tensor) -> Tensor {
        let _guard = tch::no_grad_guard();
        let white = self.whitened(z0);
        let shares = self.joint(&white).softmax(1, white.kind());
        let weighted = (white * shares.unsqueeze(2)).flatten(1, 2);
        weighted.matmul(&self.whitening.flatten(0, 1)).neg()
    }

    /// The log-density of component and z0 together, of shape (rows, K).
    pub(crate) fn joint_log_density(&self, z0: &Tensor) -> Tensor {
        self.joint(&self.whitened(z0))
    }

    /// `whitening_k (z0 - mean_k)`, of shape (rows, K, d).
    fn whitened(&self, z0: &Tensor) -> Tensor {
        let [components, dim] = [self.means.size()[0], self.means.size()[1]];
        let offset = self
            .whitening
            .matmul(&self.means.unsqueeze(2))
            .flatten(0, -1);
        let white = z0.linear(&self.whitening.flatten(0, 1), Some(&offset.neg()));
        white.view([-1, components, dim])
    }

    fn joint(&self, white: &Tensor) -> Tensor {
        let constant = 0.5 * TAU.ln() * self.means.size()[1] as f64;
        let log_det = self.whitening.diagonal(0, 1, 2).log();
        let log_det = log_det.sum_dim_intlist([1i64].as_slice(), false, None);
        let square = white
            .square()
            .sum_dim_intlist([2i64].as_slice(), false, None);
        square * -0.5 + (&self.log_weights + log_det - constant)
    }

    /// The same in `kind`.
    pub(super) fn to_kind(&self, kind: Kind) -> Self {
        Self {
            log_weights: self.log_weights.to_kind(kind),
            means: self.means.to_kind(kind),
            whitening: self.whitening.to_kind(kind),
        }
    }

    /// The same tensors.
    pub(super) fn shallow_clone(&self) -> Self {
        Self {
            log_weights: self.log_weights.shallow_clone(),
            means: self.means.shallow_clone(),
            whitening: self.whitening.shallow_clone(),
        }
    }

    /// The weights in the layout of the bundle.
    pub(super) fn weights(&self) -> MixtureWeights {
        MixtureWeights {
            log_weights: to_host(&self.log_weights),
            means: to_host(&self.means),
            whitening: to_host(&self.whitening),
        }
    }
}

/// The mixtures of `base`, each with the part of z0, of shape (rows, d), that it is the density of: as many consecutive
/// columns as the mixture has dimensions.
pub(super) fn parts<'a>(
    base: &'a [Mixture],
    z0: &'a Tensor,
) -> impl Iterator<Item = (&'a Mixture, Tensor)> {
    let mut start = 0;
    base.iter().map(move |mixture| {
        let dim = mixture.means.size()[1];
        let part = z0.narrow(1, start, dim);
        start += dim;
        (mixture, part)
    })
}

#[cfg(test)]
mod tests {
    use lfbm_model::{PriorWeights, density_graph, prior_gradient_graph};
    use lfbm_onnx::Graph;
    use lfbm_runtime::{Runtime, evaluate};
    use tch::{Device, Kind, Tensor};

    use super::super::{base_gradient, base_log_density};
    use super::Mixture;
    use crate::model::host::{to_host, values};
    use crate::model::{Flow, Prior};

    /// Three components in `dim` dimensions, one of them narrow and far from the others.
    fn mixture(dim: i64) -> Mixture {
        let options = (Kind::Double, Device::Cpu);
        let spread = Tensor::from_slice(&[1.0, 0.6, 5.0]).view([3, 1, 1]);
        let lower = Tensor::arange(3 * dim * dim, options)
            .sin()
            .view([3, dim, dim]);
        Mixture {
            log_weights: Tensor::from_slice(&[0.2, 0.5, 0.3]).log(),
            means: (Tensor::arange(3 * dim, options) * 2.0)
                .cos()
                .view([3, dim])
                * 2.0,
            whitening: spread * (lower.tril(-1) * 0.3 + Tensor::eye(dim, options)),
        }
    }

    #[test]
    fn the_density_s_mass_is_one() {
        let mixture = mixture(2);
        let (cells, bound) = (800, 8.0);
        let width = 2.0 * bound / f64::from(cells);
        let axis = Tensor::arange(i64::from(cells), (Kind::Double, Device::Cpu)) * width
            - (bound - 0.5 * width);
        let points = Tensor::stack(&Tensor::meshgrid_indexing(&[&axis, &axis], "ij"), -1);
        let density = mixture.log_density(&points.view([-1, 2])).exp();
        let mass = density.sum(Kind::Double).double_value(&[]) * width * width;
        assert!((mass - 1.0).abs() < 1e-4, "{mass}");
    }

    /// Of one mixture, and of the product of two.
    #[test]
    fn the_gradient_is_autograd_s() {
        for base in [vec![mixture(3)], vec![mixture(2), mixture(1)]] {
            let z0 = (Tensor::arange(30, (Kind::Double, Device::Cpu)).sin() * 3.0).view([10, 3]);
            let z0 = z0.set_requires_grad(true);
            let sum = base_log_density(&base, &z0).sum(Kind::Double);
            let expected = &Tensor::run_backward(&[&sum], &[&z0], false, false)[0];
            assert!(base_gradient(&base, &z0).allclose(expected, 1e-9, 1e-9, false));
        }
    }

    /// Of the whole latent and of parts of it; also far from every component, where all their densities are 0 in single
    /// precision.
    #[test]
    fn the_graphs_of_a_flow_with_this_base_are_libtorch_s() {
        the_graphs_are_libtorch_s(&[4]);
        the_graphs_are_libtorch_s(&[3, 1]);
    }

    #[test]
    fn mixtures_of_another_number_of_values_than_the_latent_are_refused() {
        let mut flow = Flow::new(4, 0, 8, Device::Cpu);
        flow.base = vec![
            mixture(2).to_kind(Kind::Float),
            mixture(1).to_kind(Kind::Float),
        ];
        let refusal = density_graph(4, &Prior::Flow(flow).weights())
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("[2, 1] values, expected 4 in all"),
            "{refusal}"
        );
    }

    fn the_graphs_are_libtorch_s(dims: &[i64]) {
        let mut flow = Flow::new(4, 2, 8, Device::Cpu);
        let base = dims.iter().map(|&dim| mixture(dim).to_kind(Kind::Float));
        flow.base = base.collect();
        let z = (Tensor::arange(40, (Kind::Float, Device::Cpu)).sin()).view([10, 4]);
        let z = Tensor::cat(&[&z, &(&z * 100.0)], 0);
        let prior = Prior::Flow(flow);
        let weights = prior.weights();
        assert!(matches!(&weights, PriorWeights::Flow(flow) if flow.base.len() == dims.len()));
        let runtime = Runtime::load(None).unwrap();
        let close = |graph: &Graph, output: usize, expected: &Tensor| {
            let got = &evaluate(&runtime, graph, &[to_host(&z)]).unwrap()[output].data;
            for (got, expected) in got.iter().zip(values(expected)) {
                let error = (got - expected).abs() / expected.abs().max(1.0);
                assert!(error < 1e-4, "{got} for {expected}");
            }
        };
        let gradient = prior_gradient_graph(4, &weights).unwrap();
        close(&gradient, 0, &prior.freeze().gradient(&z));
        let density = density_graph(4, &weights).unwrap();
        close(&density, 1, &prior.log_density(&z));
    }
}
