//! Whether what was imported is what somebody exported.

mod flow;
mod lowering;
mod rows;

pub use flow::{check_flow, check_inverse};
pub use lowering::check_lowering;
pub use rows::check_rows;

use lfbm_onnx::Tensor;
use lfbm_runtime::ChainNoise;

/// Latents that are looked at.
const POINTS: usize = 3;

/// Latents to look at, POINTS x d.
fn points(latent_dim: usize) -> Tensor {
    let mut points = vec![0.0; POINTS * latent_dim];
    ChainNoise::new(0, 0).initial(&mut points);
    Tensor::new([POINTS, latent_dim], points)
}

/// How far an output may be from what it should be, as a share of the largest value: above what the
/// order of sums changes in single precision (5e-7 in the models of the tests), and below what a
/// misread operator does.
const TOLERANCE: f64 = 1e-4;

/// How far values are from others.
struct Difference {
    largest: f64,
    /// The largest of the others.
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

/// The largest absolute value; one that is not a number is larger than all.
fn largest(values: impl Iterator<Item = f32>) -> f64 {
    let magnitudes = values.map(|value| f64::from(value).abs());
    magnitudes.max_by(f64::total_cmp).unwrap_or_default()
}
