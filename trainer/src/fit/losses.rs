//! The losses that an iteration reports, and the optimisers' steps on them.

use std::fmt;

use tch::{Device, Kind, Tensor};

use super::network::Network;
use super::threads;
use crate::model::parameters::gradients;

/// The name of the generator's loss, the mean of |x - g(z)|^2 / (2 sigma^2).
pub(super) const ERROR: &str = "error";

/// The loss of one network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Its name.
    pub name: &'static str,
    /// Mean over the batch, in nats.
    pub value: f64,
    /// Norm of the objective's gradient in the network's weights, before clipping.
    pub gradient_norm: f64,
}

/// The losses of an iteration, one per network.
#[derive(Clone, Debug, PartialEq)]
pub struct Losses(pub Vec<Loss>);

impl Losses {
    /// Whether all values and gradients are finite; the latents are, when they are.
    pub fn are_finite(&self) -> bool {
        self.0
            .iter()
            .all(|loss| loss.value.is_finite() && loss.gradient_norm.is_finite())
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, loss) in self.0.iter().enumerate() {
            let gap = if index > 0 { "  " } else { "" };
            let Loss {
                name,
                value,
                gradient_norm,
            } = loss;
            write!(f, "{gap}{name} {value:.2} (gradient {gradient_norm:.2})")?;
        }
        Ok(())
    }
}

/// A pending step of one network's optimiser.
pub(super) struct Step<'a> {
    pub(super) name: &'static str,
    pub(super) network: &'a mut Network,
    /// The network's part of the objective, of shape ().
    pub(super) loss: Tensor,
    pub(super) learning_rate: f64,
}

/// What networks that share a graph minimise, and the steps of their optimisers.
pub(super) struct Objective<'a> {
    /// Of shape ().
    pub(super) loss: Tensor,
    pub(super) steps: Vec<Step<'a>>,
}

impl<'a> Objective<'a> {
    /// One for each network, which shares its graph with no other.
    pub(super) fn of_each(steps: Vec<Step<'a>>) -> Vec<Self> {
        let objective = |step: Step<'a>| Self {
            loss: step.loss.shallow_clone(),
            steps: vec![step],
        };
        steps.into_iter().map(objective).collect()
    }

    /// The gradient of each network, and its loss and the gradient's norm, of shape (2 networks).
    fn differentiate(&self) -> (Vec<Tensor>, Tensor) {
        let networks: Vec<_> = (self.steps.iter())
            .map(|step| &step.network.parameters)
            .collect();
        let gradients = gradients(&self.loss, &networks);
        let numbers: Vec<_> = (self.steps.iter().zip(&gradients))
            .flat_map(|(step, gradient)| [step.loss.detach(), gradient.norm()])
            .collect();
        (gradients, Tensor::stack(&numbers, 0).to_kind(Kind::Double))
    }
}

/// Takes the steps along the negative gradients of objectives whose graphs have no node in common, beside each other;
/// if a loss or a gradient is not finite, takes none of them.
pub(super) fn take(objectives: Vec<Objective<'_>>) -> Losses {
    let differentiated = threads::map(objectives, |objective| {
        let (gradients, numbers) = objective.differentiate();
        (objective.steps, gradients, numbers)
    });
    let numbers: Vec<_> = differentiated
        .iter()
        .map(|(_, _, numbers)| numbers)
        .collect();
    // One copy to the host, because each copy from a GPU waits for all kernels before it.
    let numbers = Tensor::cat(&numbers, 0).to_device(Device::Cpu);
    let names = (differentiated.iter()).flat_map(|(steps, ..)| steps.iter().map(|step| step.name));
    let losses = names.zip((0..).step_by(2)).map(|(name, at)| Loss {
        name,
        value: numbers.double_value(&[at]),
        gradient_norm: numbers.double_value(&[at + 1]),
    });
    let losses = Losses(losses.collect());
    if losses.are_finite() {
        let mut norms = losses.0.iter().map(|loss| loss.gradient_norm);
        let updates = differentiated.into_iter().map(|(steps, gradients, _)| {
            let steps = steps.into_iter().zip(gradients).zip(&mut norms);
            steps.collect::<Vec<_>>()
        });
        threads::map(updates.collect(), |steps| {
            for ((step, gradient), norm) in steps {
                step.network.update(gradient, norm, step.learning_rate);
            }
        });
    }
    losses
}
