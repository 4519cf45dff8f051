//! A share of a sequence.

use std::sync::atomic::{AtomicU64, Ordering};

/// 2^64 divided by the golden ratio.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// 2^64 divided by 2: with it, the first items are picked as often as later ones.
const START: u64 = 1 << 63;

/// Picks a share of a sequence, by the number n of an item alone: where the fractional part of 1/2 + n / phi,
/// with the golden ratio phi, lies below the share.
///
/// These fractional parts are spread evenly over any stretch of the sequence, and over every k-th of its
/// items (Weyl, 1916). So a share is kept from the first images on, a source that sends every k-th image is
/// represented like others, and no client has a say in it.
#[derive(Debug)]
pub(super) struct Share {
    /// Items whose fractional part, in units of 2^-64, is at most this.
    most: u64,
    next: AtomicU64,
}

impl Share {
    pub(super) fn new(share: f64) -> Self {
        Self {
            // A share of 1 is all there are: the conversion saturates.
            most: (share * 2.0_f64.powi(64)) as u64,
            next: AtomicU64::new(0),
        }
    }

    /// Whether the next item is picked.
    pub(super) fn picks(&self) -> bool {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        n.wrapping_mul(STEP).wrapping_add(START) <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_kept_from_the_first_item_on() {
        for share in [0.01, 0.1, 0.25, 0.5, 0.9] {
            let picker = Share::new(share);
            let mut picked = 0.0;
            for count in 1..=2000 {
                picked += f64::from(u8::from(picker.picks()));
                let error: f64 = picked - share * f64::from(count);
                assert!(error.abs() <= 3.0, "{picked} of {count} for {share}");
            }
        }
    }

    #[test]
    fn a_share_is_kept_over_all_items_and_over_every_kth() {
        for share in [0.001, 0.01, 0.1, 0.5, 0.9] {
            for every in [1, 2, 3, 10, 64] {
                let picker = Share::new(share);
                let picked = (0..10_000 * every)
                    .map(|_| picker.picks())
                    .step_by(every)
                    .filter(|picked| *picked)
                    .count() as f64;
                let error = (picked - 10_000.0 * share).abs();
                assert!(error < 25.0, "{share} of every {every}th: {picked}");
            }
        }
        let all = Share::new(1.0);
        assert!((0..10_000).all(|_| all.picks()));
    }
}
