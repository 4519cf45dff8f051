//! Checks that imported graphs are right.

mod flow;
mod lowering;
mod network;
mod rows;

pub use flow::{check_flow, check_inverse};
pub use lowering::check_lowering;
pub use network::check_network;
pub use rows::check_rows;

use lfbm_onnx::Tensor;
use lfbm_runtime::ChainNoise;

/// The number of latents to check at.
const POINTS: usize = 3;

/// Latents to check at, POINTS x d.
fn points(latent_dim: usize) -> Tensor {
    let mut points = vec![0.0; POINTS * latent_dim];
    ChainNoise::new(0, 0).initial(&mut points);
    Tensor::new([POINTS, latent_dim], points)
}

/// The tolerance of an output, relative to the largest value: above the rounding of reordered sums in
/// single precision (5e-7 in the models of the tests), and below the effect of a misread operator.
const TOLERANCE: f64 = 1e-4;

/// The difference between values and references.
struct Difference {
    largest: f64,
    /// The largest reference.
    scale: f64,
}

impl Difference {
    fn between(values: &[f32], others: &[f32]) -> Self {
        let pairs = values.iter().zip(others);
        Self {
            largest: largest(pairs.map(|(value, other)| value - other)),
            scale: largest(others.iter().copied()),
        }
    }

    fn is_rounding(&self) -> bool {
        self.largest == 0.0 || self.largest / self.scale <= TOLERANCE
    }
}

/// The largest absolute value; NaN counts as the largest.
fn largest(values: impl Iterator<Item = f32>) -> f64 {
    let magnitudes = values.map(|value| f64::from(value).abs());
    magnitudes.max_by(f64::total_cmp).unwrap_or_default()
}
