//! What follows the data while a model learns: sigma, and the step size of the chains.

use tch::Tensor;

use crate::model::{Observation, Posterior};

/// What follows the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdaptationSpec {
    /// Whether sigma is learned: its maximum-likelihood estimate is the root mean square of x - g(z).
    pub learn_sigma: bool,
    /// Whether the step size is lowered where the posterior is curved more than its steps can follow.
    pub adapt_step_size: bool,
}

/// Weight of a batch's mean square in the running one.
const NEWEST: f64 = 0.02;
/// The smallest part of the root mean square of x that sigma becomes: a generator that learns images by heart
/// would take it to 0.
const SMALLEST_SIGMA: f64 = 0.02;
/// A Langevin step along a direction of curvature c multiplies the distance from the mode by 1 - s^2 c / 2. It
/// diverges where that factor is below -1; it is kept at 0 or above for the largest curvature of a batch.
const MOST_DECAY: f64 = 1.0;
/// Iterations between two measurements of the curvature.
const EVERY: u64 = 20;
/// Rows whose curvature is measured.
const ROWS: i64 = 32;
/// Power iterations of a measurement.
const POWER_ITERATIONS: usize = 6;
/// Length of the step in z by which a curvature is measured.
const PROBE: f64 = 1e-2;
/// How far a measurement moves the logarithm of the step size.
const GAIN: f64 = 0.2;

/// How sigma and the step size follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adaptation {
    pub(super) spec: AdaptationSpec,
    /// The step size of the settings, which is the largest.
    largest_step_size: f64,
}

impl Adaptation {
    pub(super) fn new(spec: AdaptationSpec, largest_step_size: f64) -> Self {
        Self {
            spec,
            largest_step_size,
        }
    }

    /// The next sigma, from the mean square of a batch's x - g(z) and of its x.
    pub(super) fn sigma(&self, sigma: f64, residual: f64, x: f64) -> f64 {
        if !self.spec.learn_sigma || !residual.is_finite() {
            return sigma;
        }
        let square = sigma * sigma * (1.0 - NEWEST) + residual * NEWEST;
        square.sqrt().max(SMALLEST_SIGMA * x.sqrt())
    }

    /// Whether the step size is to be changed in an iteration.
    pub(super) fn measures(&self, iteration: u64) -> bool {
        self.spec.adapt_step_size && iteration.is_multiple_of(EVERY)
    }

    /// The next step size, at latents `z` of the posterior of what is seen.
    pub(super) fn step_size(
        &self,
        step_size: f64,
        posterior: &Posterior,
        z: &Tensor,
        seen: &Observation,
    ) -> f64 {
        let curvature = curvature(posterior, z, seen);
        if !curvature.is_finite() || curvature <= 0.0 {
            return step_size;
        }
        let wanted = (2.0 * MOST_DECAY / curvature)
            .sqrt()
            .min(self.largest_step_size);
        // Downwards at once, since a chain that diverges ends the fit; upwards slowly.
        if wanted < step_size {
            wanted
        } else {
            step_size * (wanted / step_size).powf(GAIN)
        }
    }
}

/// The largest curvature of -log p(x, z) in z over some rows, by power iteration on differences of the
/// gradient, from the direction of z.
fn curvature(posterior: &Posterior, z: &Tensor, seen: &Observation) -> f64 {
    let _guard = tch::no_grad_guard();
    let rows = ROWS.min(z.size()[0]);
    let first = |tensor: &Tensor| tensor.narrow(0, 0, rows);
    let z = first(z);
    let seen = Observation {
        x: first(&seen.x),
        mask: seen.mask.as_ref().map(first),
    };
    let (mut directions, _) = unit_rows(&z);
    let mut largest = 0.0;
    for _ in 0..POWER_ITERATIONS {
        let probe = &directions * PROBE;
        let ahead = posterior.gradient(&(&z + &probe), &seen);
        let behind = posterior.gradient(&(&z - &probe), &seen);
        let (next, lengths) = unit_rows(&((behind - ahead) / (2.0 * PROBE)));
        largest = lengths.max().double_value(&[]);
        directions = next;
    }
    largest
}

/// Rows of length 1, and their lengths before.
fn unit_rows(rows: &Tensor) -> (Tensor, Tensor) {
    let lengths = rows.norm_scalaropt_dim(2, [1_i64].as_slice(), true);
    (rows / lengths.clamp_min(1e-12), lengths)
}

#[cfg(test)]
mod tests;
