//! Random streams. Every use has a stream of its own, derived from the run's seed, the purpose and a
//! counter. Nothing depends on earlier draws, so a resumed run draws the same numbers as an
//! uninterrupted one.

/// The purpose of random numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// Initial weights.
    Weights = 1,
    /// Order of the images in an epoch.
    Order = 2,
    /// Starts and steps of Langevin chains in an iteration.
    Noise = 3,
    /// Latents that the base of a flow is fitted to, and where that starts.
    Base = 4,
    /// Weights, batches and views of contrastive learning.
    Contrast = 5,
    /// Weights and batches of the decoder.
    Decoder = 6,
}

/// A seed for the `counter`-th use for `purpose`.
pub(super) fn derive(seed: u64, purpose: Purpose, counter: u64) -> u64 {
    mix(mix(mix(seed) ^ purpose as u64) ^ counter)
}

/// Seeds torch's generators, on all devices, for the `counter`-th use for `purpose`.
pub(crate) fn seed_torch(seed: u64, purpose: Purpose, counter: u64) {
    tch::manual_seed(derive(seed, purpose, counter) as i64);
}

/// The finaliser of SplitMix64: a bijection whose every output bit depends on every input bit.
/// (torch's CPU generator uses only the low 32 bits of its seed.)
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
