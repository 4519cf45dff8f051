//! Weights in half precision.

use half::f16;

use super::graph::{Constant, Graph};

/// By what share rounding moves a number at most, if it is none of the tiny ones with fewer digits.
const ROUNDING: f64 = 1.0 / 2048.0;

/// The values of half precision nearest to `values`.
pub(super) fn halves(values: &[f32]) -> impl Iterator<Item = f16> {
    values.iter().map(|&value| f16::from_f32(value))
}

impl Graph {
    /// Rounds weights of two and more dimensions to half precision, in which
    /// [`encode`](super::encode) then stores them. A tensor that it cannot hold, with numbers beyond
    /// 65504 or so small that they lose digits, stays as it is.
    pub fn round_weights(&mut self) {
        for constant in self.constants.values_mut() {
            if let Constant::F32(tensor) = constant
                && tensor.shape.len() > 1
                && let Some(rounded) = rounded(&tensor.data)
            {
                tensor.data = rounded;
            }
        }
    }
}

/// `values` in half precision, unless that moves them, taken as one vector, by more than that share.
fn rounded(values: &[f32]) -> Option<Vec<f32>> {
    let rounded: Vec<f32> = halves(values).map(f16::to_f32).collect();
    let square = |value: f32| f64::from(value).powi(2);
    let length: f64 = values.iter().map(|&value| square(value)).sum();
    let moved = values.iter().zip(&rounded);
    let distance: f64 = moved.map(|(value, rounded)| square(value - rounded)).sum();
    (distance <= ROUNDING.powi(2) * length).then_some(rounded)
}
