//! The chains of a batch. Its rows are independent, so each thread takes a block of them through all steps.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};

use super::prior_gradient::PriorGradient;
use super::threads;
use crate::model::{Langevin, Likelihood, Model, Observation};

/// Matrix products of fewer rows are slow.
const FEWEST_ROWS: i64 = 32;

/// What the generator computes in, in chains while learning. Its weights, what they learn, and all else are in
/// single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChainPrecision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16, with 7 bits after the point: the gradient's error is small beside the noise of a step.
    Bf16,
}

impl ChainPrecision {
    fn likelihood(self, model: &Model) -> Likelihood {
        let exact = model.freeze_likelihood();
        match self {
            Self::F32 => exact,
            Self::Bf16 => exact.to_kind(Kind::BFloat16),
        }
    }
}

/// z_K of each row under the posterior, by all threads of the CPU. A GPU takes all rows at once.
pub(super) fn run(
    langevin: &Langevin,
    precision: ChainPrecision,
    model: &Model,
    seen: &Observation,
    noise: &Tensor,
) -> Tensor {
    let threads = match noise.device() {
        Device::Cpu => tch::get_num_threads().into(),
        _ => 1,
    };
    let count = (noise.size()[1] / FEWEST_ROWS).clamp(1, threads);
    run_in_blocks(count, langevin, precision, model, seen, noise)
}

fn run_in_blocks(
    count: i64,
    langevin: &Langevin,
    precision: ChainPrecision,
    model: &Model,
    seen: &Observation,
    noise: &Tensor,
) -> Tensor {
    let rows = noise.size()[1];
    let priors = PriorGradient::several(&model.prior, noise, count as usize);
    let blocks = (0..count).zip(priors).map(|(index, prior)| {
        let start = rows * index / count;
        let length = rows * (index + 1) / count - start;
        Block {
            prior,
            likelihood: precision.likelihood(model),
            seen: Observation {
                x: seen.x.narrow(0, start, length),
                mask: (seen.mask.as_ref()).map(|mask| mask.narrow(0, start, length)),
            },
            noise: noise.narrow(1, start, length),
        }
    });
    let ends = threads::map(blocks.collect(), |block| block.run(langevin));
    Tensor::cat(&ends, 0)
}

/// Some rows of a batch, with all that their chains need: tensors may move to another thread, and may not be shared
/// with it.
struct Block {
    prior: PriorGradient,
    likelihood: Likelihood,
    seen: Observation,
    noise: Tensor,
}

impl Block {
    fn run(mut self, langevin: &Langevin) -> Tensor {
        let gradient = |z: &Tensor| self.likelihood.gradient(z, &self.seen) + self.prior.at(z);
        langevin.walk(gradient, &self.noise)
    }
}

#[cfg(test)]
mod tests {
    use lfbm_model::{GeneratorName, GeneratorSpec};
    use tch::Kind;

    use super::*;
    use crate::model::{Architecture, PriorSpec};

    #[test]
    fn blocks_of_rows_end_where_the_whole_batch_does() {
        let _guard = tch::no_grad_guard();
        tch::manual_seed(1);
        let architecture = Architecture {
            generator: GeneratorSpec {
                name: GeneratorName::Mlp,
                latent_dim: 6,
                width: 16,
                channels: 1,
                height: 4,
                width_px: 4,
            },
            prior: PriorSpec::Flow {
                steps: 2,
                hidden: 8,
            },
            sigma: 0.3,
        };
        let mut model = Model::new(&architecture, Device::Cpu).unwrap();
        model.set_kind(Kind::Double);
        let options = (Kind::Double, Device::Cpu);
        let mask = Tensor::rand([101, 1, 4, 4], options).ge(0.3);
        let seen = Observation {
            x: Tensor::rand([101, 1, 4, 4], options),
            mask: Some(mask.to_kind(Kind::Double)),
        };
        let langevin = Langevin {
            steps: 5,
            step_size: 0.1,
            noise_free_steps: 1,
            max_gradient_norm: None,
            from_encoder: false,
        };
        let noise = langevin.draw_noise(101, 6, &seen.x);
        // More than the tests are started with, so that blocks run beside each other.
        let threads = tch::get_num_threads();
        tch::set_num_threads(3);
        let whole = run_in_blocks(1, &langevin, ChainPrecision::F32, &model, &seen, &noise);
        for count in [2, 3, 16] {
            let blocks =
                run_in_blocks(count, &langevin, ChainPrecision::F32, &model, &seen, &noise);
            assert!(blocks.allclose(&whole, 1e-12, 1e-12, false), "{count}");
        }
        // In single precision the prior's gradient is a program.
        model.set_kind(Kind::Float);
        let single = |tensor: &Tensor| tensor.to_kind(Kind::Float);
        let seen = Observation {
            x: single(&seen.x),
            mask: seen.mask.as_ref().map(single),
        };
        let in_precision =
            |precision| run_in_blocks(3, &langevin, precision, &model, &seen, &single(&noise));
        let [exact, half] = [ChainPrecision::F32, ChainPrecision::Bf16].map(in_precision);
        assert!(single(&whole).allclose(&exact, 1e-3, 1e-3, false));
        // The noise of a step is 0.1; rounded factors are off by 1 in 256 at most.
        let difference = (&exact - &half).abs().max().double_value(&[]);
        assert!(0.0 < difference && difference < 0.05, "{difference}");
        tch::set_num_threads(threads);
    }
}
