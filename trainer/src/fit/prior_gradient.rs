//! The gradient of the prior's log-density, as chains ask for it while learning.

use lfbm_kernels::Fusion;
use lfbm_model::{PriorWeights, prior_gradient_graph};
use tch::{Device, Kind, Tensor};

use crate::model::{FrozenPrior, Prior, host};

/// d log p(z) / dz with fixed weights.
pub(super) enum PriorGradient {
    /// All layers of a flow in one program, a seventh of the time: on matrices of this size, each of libtorch's
    /// operations takes longer to start than to compute.
    Fused(Fusion),
    /// By libtorch: of other priors, on a GPU, in double precision, and where layers are large.
    Layers(FrozenPrior),
}

impl PriorGradient {
    /// Of the present weights, for latents such as `like`; `count` of them.
    pub(super) fn several(prior: &Prior, like: &Tensor, count: usize) -> Vec<Self> {
        let fused = fused(prior, like);
        let gradient = || match &fused {
            Some(fusion) => Self::Fused(fusion.clone()),
            None => Self::Layers(prior.freeze()),
        };
        (0..count).map(|_| gradient()).collect()
    }

    /// For latents of shape (rows, latent), of the same shape.
    pub(super) fn at(&mut self, z: &Tensor) -> Tensor {
        match self {
            Self::Fused(fusion) => run(fusion, z),
            Self::Layers(prior) => prior.gradient(z),
        }
    }
}

/// `None` where libtorch is to do it.
fn fused(prior: &Prior, like: &Tensor) -> Option<Fusion> {
    let Prior::Flow(flow) = prior else {
        return None;
    };
    if (like.device(), like.kind()) != (Device::Cpu, Kind::Float) {
        return None;
    }
    let latent = *like.size().last()? as usize;
    let graph = prior_gradient_graph(latent, &PriorWeights::Flow(flow.weights())).ok()?;
    Fusion::of(&graph)
}

fn run(fusion: &mut Fusion, z: &Tensor) -> Tensor {
    let latents = host::values(z);
    let mut gradient = vec![0.0; latents.len()];
    fusion.run(z.size()[0] as usize, &[&latents], &mut [&mut gradient]);
    host::to_device(&gradient, &z.size(), z.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PriorSpec;
    use crate::model::parameters::{Parameters, Role};

    #[test]
    fn a_flow_s_program_has_the_gradient_of_its_layers() {
        let _guard = tch::no_grad_guard();
        tch::manual_seed(3);
        for (latent, hidden) in [(10, 64), (5, 16), (24, 64)] {
            let steps = 3;
            let mut prior = Prior::new(&PriorSpec::Flow { steps, hidden }, latent, Device::Cpu);
            prior.visit(&mut |_, role, weights| {
                if role == Role::Learned {
                    *weights += weights.randn_like() * 0.1;
                }
            });
            let z = Tensor::randn([33, latent], (Kind::Float, Device::Cpu));
            let expected = prior.freeze().gradient(&z);
            for mut gradient in PriorGradient::several(&prior, &z, 2) {
                assert!(matches!(gradient, PriorGradient::Fused(_)));
                assert!(gradient.at(&z).allclose(&expected, 1e-4, 1e-4, false));
            }
        }
    }

    #[test]
    fn large_layers_are_libtorch_s() {
        let spec = PriorSpec::Flow {
            steps: 1,
            hidden: 128,
        };
        let prior = Prior::new(&spec, 10, Device::Cpu);
        let z = Tensor::randn([2, 10], (Kind::Float, Device::Cpu));
        let expected = prior.freeze().gradient(&z);
        for mut gradient in PriorGradient::several(&prior, &z, 1) {
            assert!(matches!(gradient, PriorGradient::Layers(_)));
            assert_eq!(gradient.at(&z), expected);
        }
    }
}
