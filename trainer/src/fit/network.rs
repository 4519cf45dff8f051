//! One network under training.

use tch::Tensor;

use super::adam::Adam;
use super::learner::Learning;
use crate::model::parameters::{FlatParameters, Parameters};

/// A network's weights, its optimiser, and the running average of its weights.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) parameters: FlatParameters,
    pub(super) adam: Adam,
    pub(super) average: Option<Tensor>,
    /// Gradients are clipped to this norm.
    max_gradient_norm: f64,
    /// Decay of the running average per update.
    average_decay: f64,
}

impl Network {
    pub(super) fn new(
        network: &mut dyn Parameters,
        max_gradient_norm: f64,
        learning: &Learning,
    ) -> Self {
        let average_decay = learning.average_decay;
        let parameters = FlatParameters::bind(network);
        let adam = Adam::new(parameters.flat(), learning.adam_beta1);
        let average = (average_decay > 0.0).then(|| parameters.flat().copy());
        Self {
            parameters,
            adam,
            average,
            max_gradient_norm,
            average_decay,
        }
    }

    /// One step against `gradient`, which has length `norm`.
    pub(super) fn update(&mut self, gradient: Tensor, norm: f64, learning_rate: f64) {
        let gradient = match self.max_gradient_norm / norm {
            shorter if shorter < 1.0 => gradient * shorter,
            _ => gradient,
        };
        self.adam
            .update(self.parameters.flat(), &gradient, learning_rate);
        if let Some(average) = &mut self.average {
            let _guard = tch::no_grad_guard();
            // Young averages forget their random start faster (as in TensorFlow's EMA).
            let updates = self.adam.updates as f64;
            let decay = self.average_decay.min((1.0 + updates) / (10.0 + updates));
            let _ = average.lerp_(self.parameters.flat(), 1.0 - decay);
        }
    }

    /// Replaces the weights by their running average, and returns the old ones.
    pub(super) fn show_average(&self) -> Tensor {
        let current = self.parameters.flat().copy();
        if let Some(average) = &self.average {
            self.set_parameters(average);
        }
        current
    }

    pub(super) fn set_parameters(&self, values: &Tensor) {
        let _guard = tch::no_grad_guard();
        self.parameters.flat().shallow_clone().copy_(values);
    }
}
