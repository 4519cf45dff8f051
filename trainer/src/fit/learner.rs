//! One iteration: infer latents, then improve the networks. With Langevin dynamics it is
//! Algorithm 1 of the paper; as a VAE it maximises the evidence lower bound, Eq. 24.

use lfbm_model::ModelError;
use tch::{Device, Tensor};

use super::adaptation::{Adaptation, AdaptationSpec};
use super::inference::{Inference, InferenceSpec};
use super::losses::{ERROR, Losses, Objective, Step, take};
use super::mixture::{self, MixtureError};
use super::network::Network;
use super::random;
use crate::model::density::squared_error;
use crate::model::{Architecture, Model, Observation, Prior, Transform};

/// Latents that the base of a flow is fitted to, at most.
const MOST_LATENTS: i64 = 65_536;
/// Latents that are inferred at the same time for it.
const LATENTS_AT_ONCE: usize = 1024;

/// How the networks are optimised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// Adam's learning rate for the prior, at the start.
    pub prior_learning_rate: f64,
    /// Adam's learning rate for the generator, at the start.
    pub generator_learning_rate: f64,
    /// All learning rates fall along half a cosine to this share of themselves.
    pub final_learning_rate_share: f64,
    /// Iterations over which they fall.
    pub iterations: u64,
    /// Gradients of the prior's loss are clipped to this norm.
    pub prior_max_gradient_norm: f64,
    /// Gradients of the generator's loss are clipped to this norm.
    pub generator_max_gradient_norm: f64,
    /// Decay of Adam's average of gradients.
    pub adam_beta1: f64,
    /// Decay of the running average of weights per update; 0 keeps no average.
    pub average_decay: f64,
    /// What follows the data.
    pub adaptation: AdaptationSpec,
}

impl Learning {
    /// The factor of the learning rates in an iteration.
    fn rate_share(&self, iteration: u64) -> f64 {
        let progress = (iteration as f64 / self.iterations.max(1) as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        self.final_learning_rate_share + (1.0 - self.final_learning_rate_share) * cosine
    }
}

/// A model under training: everything that changes from one iteration to the next.
#[derive(Debug)]
pub struct Learner {
    pub(super) model: Model,
    /// `None` for a prior without weights.
    pub(super) prior: Option<Network>,
    pub(super) generator: Network,
    /// Iterations done.
    pub(super) iteration: u64,
    pub(super) inference: Inference,
    adaptation: Adaptation,
    learning: Learning,
    latent: i64,
    seed: u64,
}

impl Learner {
    /// A learner of a model with random weights, determined by `seed`.
    pub fn new(
        architecture: &Architecture,
        inference: &InferenceSpec,
        learning: Learning,
        seed: u64,
        device: Device,
    ) -> Result<Self, ModelError> {
        random::seed_torch(seed, random::Purpose::Weights, 0);
        let mut model = Model::new(architecture, device)?;
        let prior = match &mut model.prior {
            Prior::Gaussian => None,
            Prior::Flow(flow) if flow.steps.is_empty() => None,
            prior => Some(Network::new(
                prior,
                learning.prior_max_gradient_norm,
                &learning,
            )),
        };
        Ok(Self {
            prior,
            generator: Network::new(
                &mut model.generator,
                learning.generator_max_gradient_norm,
                &learning,
            ),
            model,
            iteration: 0,
            adaptation: Adaptation::new(learning.adaptation, inference.step_size()),
            inference: Inference::new(inference, &learning, device)?,
            learning,
            latent: architecture.generator.latent_dim as i64,
            seed,
        })
    }

    /// Iterations done.
    pub fn iteration(&self) -> u64 {
        self.iteration
    }

    /// Standard deviation of a value of x around the generator's, as it is now.
    pub fn sigma(&self) -> f64 {
        self.model.sigma
    }

    /// Step size s of the chains, as it is now; `None` where an encoder alone infers latents.
    pub fn step_size(&self) -> Option<f64> {
        self.inference.langevin().map(|langevin| langevin.step_size)
    }

    /// Learned parameters by the name of the part: `prior`, unless it has none, `generator` and, if there is one,
    /// `encoder`.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let parts = [
            ("prior", self.prior.as_ref()),
            ("generator", Some(&self.generator)),
            (
                "encoder",
                self.inference.encoder().map(|learner| &learner.network),
            ),
        ];
        let known = parts
            .into_iter()
            .filter_map(|(part, network)| Some((part, network?)));
        known.map(|(part, network)| (part, network.parameters.flat().numel() as u64))
    }

    /// One iteration on a batch. All randomness comes from the seed and the iteration's number, so
    /// that a run can be resumed at any iteration.
    ///
    /// When a loss or a gradient is not finite, weights and [`iteration`](Self::iteration) do not
    /// change.
    pub fn iterate(&mut self, seen: &Observation) -> Losses {
        random::seed_torch(self.seed, random::Purpose::Noise, self.iteration);
        for _ in 1..self.inference.updates() {
            let losses = self.update(seen, false);
            if !losses.are_finite() {
                return losses;
            }
        }
        let losses = self.update(seen, true);
        if losses.are_finite() {
            self.iteration += 1;
        }
        losses
    }

    /// What the generator makes of the latents that are inferred of the observation, as large as its x.
    /// Later iterations are as if it had not been called.
    pub fn reconstruct(&self, seen: &Observation) -> Tensor {
        let _guard = tch::no_grad_guard();
        random::seed_torch(self.seed, random::Purpose::Noise, self.iteration);
        let (z, _) = self.inference.infer(&self.model, seen, self.latent);
        self.model.generator.forward(&z)
    }

    /// Fits the base of the flow to the latents that are inferred of the fitted x, whose masks may be of any kind:
    /// mixtures of at most `components` Gaussians, one for each of the consecutive parts of z0, whose `sizes` add up to
    /// all of it. The step size of chains follows, where it adapts. Without a flow nothing is fitted.
    ///
    /// # Errors
    /// When the latents have no mixture.
    pub fn fit_base(
        &mut self,
        fitted: &Observation,
        components: usize,
        sizes: &[usize],
    ) -> Result<(), MixtureError> {
        let current = self.show_averages();
        let fit = self.fit_base_of_these_weights(fitted, components, sizes);
        self.hide_averages(current);
        fit
    }

    fn fit_base_of_these_weights(
        &mut self,
        fitted: &Observation,
        components: usize,
        sizes: &[usize],
    ) -> Result<(), MixtureError> {
        let _guard = tch::no_grad_guard();
        let Prior::Flow(flow) = &mut self.model.prior else {
            return Ok(());
        };
        // Latents are inferred under the prior that was learned, also where a base was fitted before.
        flow.base.clear();
        random::seed_torch(self.seed, random::Purpose::Base, 0);
        let rows = fitted.x.size()[0];
        let count = rows.min(MOST_LATENTS);
        let spread: Vec<i64> = (0..count).map(|index| index * rows / count).collect();
        let device = fitted.x.device();
        let seen = |some: &[i64]| fitted.rows(&Tensor::from_slice(some).to_device(device));
        let latents = |some| {
            self.inference
                .infer(&self.model, &seen(some), self.latent)
                .0
        };
        let z: Vec<_> = spread.chunks(LATENTS_AT_ONCE).map(latents).collect();
        // Regularises: the noise of x, which latents have, too, where the generator is near the identity.
        let added_variance = self.model.sigma * self.model.sigma;
        if let Prior::Flow(flow) = &mut self.model.prior {
            let z0 = flow.forward(&Tensor::cat(&z, 0)).0;
            let sizes: Vec<_> = sizes.iter().map(|&size| size as i64).collect();
            let parts = z0.split_with_sizes(sizes, 1);
            let mixtures = parts
                .iter()
                .map(|part| mixture::fit(part, components, added_variance));
            flow.base = mixtures.collect::<Result<_, _>>()?;
        }
        // Narrow components curve the posterior more than N(0, I) does.
        let first = spread.chunks(LATENTS_AT_ONCE).next().zip(z.first());
        if let (Some((some, z)), true, Some(langevin)) = (
            first,
            self.adaptation.spec.adapt_step_size,
            self.inference.langevin_mut(),
        ) {
            let posterior = self.model.freeze();
            langevin.step_size =
                (self.adaptation).step_size(langevin.step_size, &posterior, z, &seen(some));
        }
        Ok(())
    }

    /// Infers latents and updates the networks on them, the generator only if asked.
    fn update(&mut self, seen: &Observation, improve_generator: bool) -> Losses {
        let Self {
            model,
            prior,
            generator,
            inference,
            adaptation,
            learning,
            ..
        } = self;
        let (z, log_q) = inference.infer(model, seen, self.latent);
        if let (Prior::Flow(flow), Some(network)) = (&mut model.prior, &*prior)
            && network.adam.updates == 0
            && z.isfinite().all().int64_value(&[]) == 1
        {
            flow.initialise(&z);
        }
        let prior_loss = model.prior.loss(&z);
        let sigma = model.sigma;
        let image = model.generator.forward(&z);
        let square = squared_error(&seen.x, &image, seen.mask.as_ref()).mean(None);
        let residual = adaptation.spec.learn_sigma.then(|| square.detach());
        let posterior = adaptation.measures(self.iteration).then(|| model.freeze());
        let error = square * (0.5 / (sigma * sigma));
        let encoder_loss = match (log_q, inference.encoder()) {
            // KL divergence from q(z|x) to the prior; with the error it makes the bound.
            (Some(log_q), _) => Some(("KL", log_q.mean(None) + &prior_loss)),
            (None, Some(learner)) => {
                let log_q = learner.encoder.gaussian_log_density(seen, &z);
                Some(("-log q(z|x)", log_q.mean(None).neg()))
            }
            (None, None) => None,
        };
        // Latents of chains are given, so the networks' graphs have no node in common; threads of a CPU share them.
        let are_disjoint = z.device() == Device::Cpu && inference.langevin().is_some();
        let loss = (!are_disjoint).then(|| match (&encoder_loss, &*inference) {
            (Some((_, divergence)), Inference::Vae(..)) => divergence + &error,
            (Some((_, nll)), Inference::Langevin(..)) => &prior_loss + &error + nll,
            (None, _) => &prior_loss + &error,
        });
        let share = learning.rate_share(self.iteration);
        let mut steps = Vec::new();
        if let Some(network) = prior {
            steps.push(Step {
                name: "-log p(z)",
                network,
                loss: prior_loss,
                learning_rate: learning.prior_learning_rate * share,
            });
        }
        if improve_generator {
            steps.push(Step {
                name: ERROR,
                network: generator,
                loss: error,
                learning_rate: learning.generator_learning_rate * share,
            });
        }
        if let (Some(learner), Some((name, loss))) = (inference.encoder_mut(), encoder_loss) {
            steps.push(Step {
                name,
                network: &mut learner.network,
                loss,
                learning_rate: learner.learning_rate * share,
            });
        }
        let objectives = match loss {
            Some(loss) => vec![Objective { loss, steps }],
            None => Objective::of_each(steps),
        };
        let losses = take(objectives);
        if !losses.are_finite() {
            return losses;
        }
        if let (Some(posterior), Some(langevin)) = (posterior, self.inference.langevin_mut()) {
            let step_size = langevin.step_size;
            langevin.step_size = self.adaptation.step_size(step_size, &posterior, &z, seen);
        }
        if let Some(residual) = residual {
            let values = seen.x.size()[1..].iter().product::<i64>() as f64;
            let visible = seen
                .mask
                .as_ref()
                .map_or(1.0, |mask| mask.mean(None).double_value(&[]));
            let residual = residual.double_value(&[]) / (values * visible);
            let x = seen.x.square().mean(None).double_value(&[]);
            self.model.sigma = self.adaptation.sigma(self.model.sigma, residual, x);
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::{AdaptationSpec, Learning};

    #[test]
    fn learning_rates_fall_to_their_final_share() {
        let learning = Learning {
            prior_learning_rate: 1.0,
            generator_learning_rate: 1.0,
            final_learning_rate_share: 0.1,
            iterations: 100,
            prior_max_gradient_norm: 1.0,
            generator_max_gradient_norm: 1.0,
            adam_beta1: 0.9,
            average_decay: 0.0,
            adaptation: AdaptationSpec::default(),
        };
        assert_eq!(learning.rate_share(0), 1.0);
        assert!((learning.rate_share(50) - 0.55).abs() < 1e-12);
        assert!((learning.rate_share(100) - 0.1).abs() < 1e-12);
        assert!((0..100).all(|i| learning.rate_share(i + 1) < learning.rate_share(i)));
    }
}
