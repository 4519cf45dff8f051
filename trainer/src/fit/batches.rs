//! The images of each iteration's batch.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::random;

/// Splits epochs into batches. Every epoch has its own order, determined by seed and epoch; an
/// incomplete last batch is dropped.
#[derive(Debug)]
pub struct Batches {
    order: Vec<i64>,
    /// The epoch that `order` belongs to.
    epoch: Option<u64>,
    batch_size: usize,
    seed: u64,
}

impl Batches {
    /// Batches of `batch_size` from `count` images; `batch_size` is 1 to `count`.
    pub fn new(count: usize, batch_size: usize, seed: u64) -> Self {
        Self {
            order: (0..count as i64).collect(),
            epoch: None,
            batch_size,
            seed,
        }
    }

    /// Batches in an epoch.
    pub fn per_epoch(&self) -> u64 {
        (self.order.len() / self.batch_size) as u64
    }

    /// The epoch of an iteration, both counted from 0.
    pub fn epoch_of(&self, iteration: u64) -> u64 {
        iteration / self.per_epoch()
    }

    /// The images of an iteration, as indices below `count`.
    pub fn batch(&mut self, iteration: u64) -> &[i64] {
        let epoch = self.epoch_of(iteration);
        if self.epoch != Some(epoch) {
            self.order.sort_unstable();
            let seed = random::derive(self.seed, random::Purpose::Order, epoch);
            self.order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            self.epoch = Some(epoch);
        }
        let start = (iteration % self.per_epoch()) as usize * self.batch_size;
        &self.order[start..start + self.batch_size]
    }
}

#[cfg(test)]
mod tests {
    use super::Batches;

    #[test]
    fn an_epoch_shows_every_image_at_most_once_and_epochs_differ() {
        let mut batches = Batches::new(103, 10, 7);
        assert_eq!(batches.per_epoch(), 10);
        let mut epoch = |first: u64| -> Vec<i64> {
            (first..first + 10)
                .flat_map(|i| batches.batch(i).to_vec())
                .collect()
        };
        let (first, second) = (epoch(0), epoch(10));
        assert_ne!(first, second);
        for mut epoch in [first, second] {
            epoch.sort_unstable();
            epoch.dedup();
            assert_eq!(epoch.len(), 100);
        }
    }

    #[test]
    fn a_batch_does_not_depend_on_those_before() {
        let mut unbroken = Batches::new(50, 8, 3);
        let all: Vec<Vec<i64>> = (0..20).map(|i| unbroken.batch(i).to_vec()).collect();
        for start in [5, 6, 13] {
            let mut resumed = Batches::new(50, 8, 3);
            assert_eq!(resumed.batch(start), all[start as usize]);
        }
    }
}
