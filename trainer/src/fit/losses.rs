//! The losses that an iteration reports, and the optimisers' steps on them.

use std::fmt;

use tch::{Device, Kind, Tensor};

use super::network::Network;
use crate::model::parameters::gradients;

/// The name of the generator's loss, the mean of |x - g(z)|^2 / (2 sigma^2).
pub const ERROR: &str = "error";

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

/// Takes the steps along the negative gradient of `objective`; if a loss or a gradient is not finite,
/// takes none of them.
pub(super) fn take(objective: &Tensor, steps: Vec<Step<'_>>) -> Losses {
    let networks: Vec<_> = steps.iter().map(|step| &step.network.parameters).collect();
    let gradients = gradients(objective, &networks);
    // One copy to the host, because each copy from a GPU waits for all kernels before it.
    let numbers: Vec<_> = (steps.iter().zip(&gradients))
        .flat_map(|(step, gradient)| [step.loss.detach(), gradient.norm()])
        .collect();
    let numbers = Tensor::stack(&numbers, 0)
        .to_kind(Kind::Double)
        .to_device(Device::Cpu);
    let losses = steps.iter().zip((0..).step_by(2)).map(|(step, at)| Loss {
        name: step.name,
        value: numbers.double_value(&[at]),
        gradient_norm: numbers.double_value(&[at + 1]),
    });
    let losses = Losses(losses.collect());
    if losses.are_finite() {
        for ((step, gradient), loss) in steps.into_iter().zip(gradients).zip(&losses.0) {
            let norm = loss.gradient_norm;
            step.network.update(gradient, norm, step.learning_rate);
        }
    }
    losses
}
