//! The state of a learner as named tensors, for checkpoints.

use lfbm_model::{EncoderWeights, LayerWeights, PriorWeights};
use tch::{Device, Tensor};

use super::learner::Learner;
use super::network::Network;
use crate::model::Prior;
use crate::model::parameters::{Parameters, Role};

/// Sigma and the step size, which may follow the data.
const FOLLOWED: &str = "sigma_and_step_size";

/// Everything that a learner needs to continue as if it had never stopped.
#[derive(Debug)]
pub struct LearnerState {
    /// Iterations done.
    pub iteration: u64,
    /// Weights, the optimisers' moments and the running averages, on the CPU.
    pub tensors: Vec<(String, Tensor)>,
}

impl LearnerState {
    /// How many bytes the tensors have.
    pub fn bytes(&self) -> u64 {
        let bytes = |tensor: &Tensor| tensor.numel() * tensor.kind().elt_size_in_bytes();
        let tensors = self.tensors.iter();
        tensors.map(|(_, tensor)| bytes(tensor) as u64).sum()
    }
}

/// The state belongs to another learner.
#[derive(Debug, thiserror::Error)]
#[error("the tensor {name} of the checkpoint is {got}, expected {expected}")]
pub struct StateError {
    name: String,
    got: String,
    expected: String,
}

impl Learner {
    /// The learner as it is now.
    pub fn state(&mut self) -> LearnerState {
        let mut tensors = Vec::new();
        self.visit_state(&mut |name, tensor| {
            // A copy, also on the CPU: the next iteration changes the original in place.
            tensors.push((
                name.to_owned(),
                tensor.detach().to_device(Device::Cpu).copy(),
            ));
        });
        let followed = [self.model.sigma, self.step_size().unwrap_or(0.0)];
        tensors.push((FOLLOWED.to_owned(), Tensor::from_slice(&followed)));
        LearnerState {
            iteration: self.iteration,
            tensors,
        }
    }

    /// Restores the learner that `state` was taken from.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn restore(&mut self, state: &LearnerState) -> Result<(), StateError> {
        let _guard = tch::no_grad_guard();
        let mut wrong = None;
        self.visit_state(&mut |name, tensor| {
            let found = state.tensors.iter().find(|(saved, _)| saved == name);
            match found {
                Some((_, saved)) if saved.size() == tensor.size() => tensor.copy_(saved),
                _ => {
                    wrong.get_or_insert_with(|| StateError {
                        name: name.to_owned(),
                        got: found.map_or("missing".to_owned(), |t| format!("{:?}", t.1.size())),
                        expected: format!("{:?}", tensor.size()),
                    });
                }
            }
        });
        self.iteration = state.iteration;
        let mut tensors = state.tensors.iter();
        if let Some((_, followed)) = tensors.find(|(name, _)| name == FOLLOWED)
            && followed.size() == [2]
        {
            self.model.sigma = followed.double_value(&[0]);
            if let Some(langevin) = self.inference.langevin_mut() {
                langevin.step_size = followed.double_value(&[1]);
            }
        }
        let updates = state.iteration * self.inference.updates();
        if let Some(prior) = &mut self.prior {
            prior.adam.updates = updates;
        }
        self.generator.adam.updates = state.iteration;
        if let Some(learner) = self.inference.encoder_mut() {
            learner.network.adam.updates = updates;
        }
        wrong.map_or(Ok(()), Err)
    }

    /// The weights to export: the running averages, if there are any.
    pub fn export_weights(&mut self) -> (Vec<LayerWeights>, PriorWeights, Option<EncoderWeights>) {
        let current = self.show_averages();
        let encoder = self.inference.encoder();
        let weights = (
            self.model.generator.weights(),
            self.model.prior.weights(),
            encoder.map(|learner| learner.encoder.weights()),
        );
        self.hide_averages(current);
        weights
    }

    /// Replaces all weights by their running averages, if there are any, and returns the old ones.
    pub(super) fn show_averages(&self) -> Vec<Tensor> {
        self.networks().map(Network::show_average).collect()
    }

    /// Puts back what [`Self::show_averages`] replaced.
    pub(super) fn hide_averages(&self, current: Vec<Tensor>) {
        for (network, current) in self.networks().zip(current) {
            network.set_parameters(&current);
        }
    }

    fn networks(&self) -> impl Iterator<Item = &Network> {
        let encoder = self.inference.encoder();
        let encoder = encoder.map(|learner| &learner.network);
        self.prior.iter().chain([&self.generator]).chain(encoder)
    }

    fn visit_state(&mut self, visitor: &mut dyn FnMut(&str, &mut Tensor)) {
        let prior_name = match self.model.prior {
            Prior::Flow(_) => "flow",
            Prior::Ebm(_) => "energy",
            Prior::Gaussian => "gaussian",
        };
        let mut parts: Vec<(&str, &mut dyn Parameters, &mut Network)> = Vec::new();
        if let Some(network) = &mut self.prior {
            parts.push((prior_name, &mut self.model.prior, network));
        }
        parts.push(("generator", &mut self.model.generator, &mut self.generator));
        if let Some(learner) = self.inference.encoder_mut() {
            parts.push(("encoder", &mut learner.encoder, &mut learner.network));
        }
        for (name, part, network) in parts {
            part.visit(&mut |tensor_name, role, tensor| {
                if role == Role::Fixed {
                    visitor(&format!("{name}.{tensor_name}"), tensor);
                }
            });
            let mut parameters = network.parameters.flat().shallow_clone();
            visitor(&format!("{name}.parameters"), &mut parameters);
            visitor(&format!("{name}.adam.first"), &mut network.adam.first);
            visitor(&format!("{name}.adam.second"), &mut network.adam.second);
            if let Some(average) = &mut network.average {
                visitor(&format!("{name}.average"), average);
            }
        }
    }
}
