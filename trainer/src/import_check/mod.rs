//! Whether what was imported is what somebody exported.

mod flow;
mod lowering;

pub use flow::{check_flow, check_inverse};
pub use lowering::check_lowering;

use lfbm_bundle::noise::ChainNoise;
use lfbm_bundle::tensor::Tensor;

/// Latents that are looked at.
const POINTS: usize = 3;

/// Latents to look at, POINTS x d.
fn points(latent_dim: usize) -> Tensor {
    let mut points = vec![0.0; POINTS * latent_dim];
    ChainNoise::new(0, 0).initial(&mut points);
    Tensor::new([POINTS, latent_dim], points)
}
