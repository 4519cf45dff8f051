//! What the tests of both kinds of layers need.

use half::bf16;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

pub(super) fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// What is left of a factor.
pub(super) fn rounded(value: f32) -> f64 {
    bf16::from_f32(value).to_f64()
}

pub(super) fn assert_close(got: f32, before: f64, slope: f64) {
    let expected = if before < 0.0 { before * slope } else { before };
    let got = f64::from(got);
    assert!((got - expected).abs() < 1e-4, "{got}, expected {expected}");
}
