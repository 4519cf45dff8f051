//! Counter-based noise: a value depends on seed, site, chain and step, and on nothing that ran before.
//!
//! The generator is ChaCha8 keyed by the seed; the chain chooses the stream and the step the
//! position in it. A chain's noise therefore does not depend on who shares its batch.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// Words of the stream set aside for a step: more than any latent's noise draws.
const WORDS_PER_STEP: u128 = 1 << 24;

/// Between the seeds of neighbouring sites: 2^64 over the golden ratio, odd, so that no two of 2^32 sites
/// share one.
const SITE_STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The noise of one chain.
#[derive(Clone, Debug)]
pub struct ChainNoise {
    rng: ChaCha8Rng,
}

impl ChainNoise {
    /// The noise of chain number `chain` of the first site under `seed`.
    pub fn new(seed: u64, chain: u32) -> Self {
        Self::of_site(seed, 0, chain)
    }

    /// The noise of chain number `chain` of a site under `seed`.
    pub fn of_site(seed: u64, site: u32, chain: u32) -> Self {
        // Sites have keys far apart, since neighbouring seeds are seeds of other requests.
        let seed = seed.wrapping_add(u64::from(site).wrapping_mul(SITE_STRIDE));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(chain.into());
        Self { rng }
    }

    /// The chain's number.
    pub fn chain(&self) -> u64 {
        self.rng.get_stream()
    }

    /// Fills `z` with the standard normal noise that the chain's start is, or is made of.
    pub fn initial(&self, z: &mut [f32]) {
        self.fill(0, z);
    }

    /// Fills `noise` with the standard normal noise of Langevin step `step`, counted from 0.
    pub fn step(&self, step: u32, noise: &mut [f32]) {
        self.fill(u128::from(step) + 1, noise);
    }

    fn fill(&self, position: u128, values: &mut [f32]) {
        let mut rng = self.rng.clone();
        rng.set_word_pos(position * WORDS_PER_STEP);
        values.fill_with(|| StandardNormal.sample(&mut rng));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_seed_chain_and_step_alone() {
        let draw = |seed, chain, step| {
            let mut values = [0.0; 16];
            ChainNoise::new(seed, chain).step(step, &mut values);
            values
        };
        let reference = draw(7, 1, 3);
        assert_eq!(reference, draw(7, 1, 3));
        let used = ChainNoise::new(7, 1);
        let mut values = [0.0; 16];
        used.initial(&mut values);
        used.step(0, &mut values);
        used.step(3, &mut values);
        assert_eq!(reference, values);
        assert_ne!(reference, draw(8, 1, 3));
        assert_ne!(reference, draw(7, 2, 3));
        assert_ne!(reference, draw(7, 1, 4));
    }

    #[test]
    fn is_standard_normal() {
        let mut values = vec![0.0_f32; 100_000];
        ChainNoise::new(1, 0).initial(&mut values);
        let n = values.len() as f64;
        let moment = |power: i32| {
            values
                .iter()
                .map(|&v| f64::from(v).powi(power))
                .sum::<f64>()
                / n
        };
        assert!(moment(1).abs() < 0.02, "mean {}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.02, "variance {}", moment(2));
        assert!(
            (moment(4) - 3.0).abs() < 0.15,
            "fourth moment {}",
            moment(4)
        );
    }
}
