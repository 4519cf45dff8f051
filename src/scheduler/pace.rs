//! How fast the steps go, and what waits: what admission needs to know beforehand.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use super::queue::bulk_rows;
use crate::admission::{Estimate, Priority};

/// Weight of the newest step in the running mean: a step that was held up once does not make
/// requests look unreachable.
const NEWEST: f64 = 1.0 / 64.0;
/// The share of answers that may come later than estimated and the margin.
const LATE_SHARE: f64 = 0.02;
/// How far a late answer moves the margin, relative to the estimate.
const OVERRUN_GAIN: f64 = 0.05;
/// An estimate is never doubled: what takes longer than that is no matter of margins.
const MOST_OVERRUN: f64 = 2.0;
/// Batch sizes are told apart by their power of two.
const SIZES: usize = usize::BITS as usize;

/// Written by the scheduler's thread after every step, read by every request. The numbers may be of
/// different moments; they are estimates anyway.
#[derive(Debug)]
pub(super) struct Pace {
    capacity: usize,
    bulk_rows: usize,
    /// Runs after which a chain lets others have its row.
    slice_runs: u64,
    /// Seconds of a step, as bits of an f64, of batches of up to 2^i rows; 0 is unknown.
    step_seconds: [AtomicU64; SIZES],
    /// Rows in use.
    rows: AtomicUsize,
    /// Runs of the graph before the last waiting chain gets a row, by class, times rows.
    queued: [AtomicU64; 2],
    /// The same of jobs that the thread has not seen yet.
    arriving: [AtomicU64; 2],
    /// What all answers but [`LATE_SHARE`] take at most, in times of their estimates, as bits of an
    /// f64.
    overrun: AtomicU64,
}

impl Pace {
    pub(super) fn new(capacity: usize, bulk_share: f64, slice_runs: u64) -> Self {
        Self {
            capacity,
            bulk_rows: bulk_rows(capacity, bulk_share),
            slice_runs,
            step_seconds: std::array::from_fn(|_| AtomicU64::new(0)),
            rows: AtomicUsize::new(0),
            queued: Default::default(),
            arriving: Default::default(),
            overrun: AtomicU64::new(1.0_f64.to_bits()),
        }
    }

    /// Runs after which a chain that needs `runs` is out of others' way.
    pub(super) fn turn(&self, runs: u64) -> u64 {
        runs.min(self.slice_runs)
    }

    /// A step of `rows` rows took so long.
    pub(super) fn observe_step(&self, rows: usize, took: Duration) {
        let mean = &self.step_seconds[size(rows)];
        let before = f64::from_bits(mean.load(Relaxed));
        let now = took.as_secs_f64();
        let after = if before == 0.0 {
            now
        } else {
            before + NEWEST * (now - before)
        };
        mean.store(after.to_bits(), Relaxed);
    }

    /// A job was to be answered in `expected`, and took so long.
    pub(super) fn observe_answer(&self, expected: Duration, took: Duration) {
        let overrun = f64::from_bits(self.overrun.load(Relaxed));
        let late = took.as_secs_f64() > overrun * expected.as_secs_f64();
        // Stays where it is on average once the right share is late (Robbins and Monro, 1951).
        let change = OVERRUN_GAIN * (f64::from(u8::from(late)) - LATE_SHARE);
        let overrun = (overrun * (1.0 + change)).clamp(1.0, MOST_OVERRUN);
        self.overrun.store(overrun.to_bits(), Relaxed);
    }

    /// What is in the batch and in the queue.
    pub(super) fn publish(&self, rows: usize, queued: [u64; 2]) {
        self.rows.store(rows, Relaxed);
        for (shown, runs) in self.queued.iter().zip(queued) {
            shown.store(runs, Relaxed);
        }
    }

    /// A job is on its way to the thread.
    pub(super) fn depart(&self, priority: Priority, chains: u32, runs: u64) {
        let ahead = u64::from(chains) * self.turn(runs);
        self.arriving[priority as usize].fetch_add(ahead, Relaxed);
    }

    /// It is there.
    pub(super) fn arrive(&self, priority: Priority, chains: u32, runs: u64) {
        let ahead = u64::from(chains) * self.turn(runs);
        self.arriving[priority as usize].fetch_sub(ahead, Relaxed);
    }

    /// At the present speed, how long `chains` chains of `runs` runs each would wait and run if they
    /// came now; `None` if nothing runs or waits. (What was measured may be out of date then, and is
    /// measured anew by trying.)
    pub(super) fn estimate(&self, priority: Priority, chains: u32, runs: u64) -> Option<Estimate> {
        let [interactive, bulk] = [Priority::Interactive, Priority::Bulk].map(|class| {
            let class = class as usize;
            self.queued[class].load(Relaxed) + self.arriving[class].load(Relaxed)
        });
        let rows = self.rows.load(Relaxed);
        if rows == 0 && interactive + bulk == 0 {
            return None;
        }
        let chains = chains as usize;
        let full = self.step_seconds(self.capacity);
        // Of a full batch, with so many of its rows.
        let seconds = |runs: u64, rows: usize| runs as f64 * full / rows as f64;
        let others = self.capacity - self.bulk_rows;
        let line = if interactive + bulk == 0 && rows + chains <= self.capacity {
            0.0
        } else {
            match priority {
                Priority::Interactive if bulk > 0 => seconds(interactive, others.max(1)),
                Priority::Interactive => seconds(interactive, self.capacity),
                // Whichever lets it in first: its share, or that nothing else is left.
                Priority::Bulk => {
                    seconds(bulk, self.bulk_rows).min(seconds(interactive + bulk, self.capacity))
                }
            }
        };
        // A chain of several slices stands in line for each.
        let wait = line * runs.div_ceil(self.slice_runs) as f64;
        let together = (rows + chains).min(self.capacity);
        let rounds = chains.div_ceil(self.capacity);
        let run = runs as f64 * self.step_seconds(together) * rounds as f64;
        let overrun = f64::from_bits(self.overrun.load(Relaxed));
        let duration = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Some(Estimate {
            wait: duration(wait),
            run: duration(run),
            margin: duration((wait + run) * (overrun - 1.0)),
        })
    }

    fn step_seconds(&self, rows: usize) -> f64 {
        f64::from_bits(self.step_seconds[size(rows)].load(Relaxed))
    }
}

fn size(rows: usize) -> usize {
    rows.next_power_of_two().trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Bulk, Interactive};

    fn pace() -> Pace {
        let pace = Pace::new(64, 0.25, 100);
        pace.observe_step(1, Duration::from_millis(1));
        pace.observe_step(64, Duration::from_millis(8));
        pace
    }

    fn ms(estimate: Estimate) -> (u128, u128) {
        (
            (estimate.wait.as_secs_f64() * 1e3).round() as u128,
            (estimate.run.as_secs_f64() * 1e3).round() as u128,
        )
    }

    #[test]
    fn an_idle_scheduler_estimates_nothing() {
        let pace = pace();
        assert!(pace.estimate(Interactive, 1, 21).is_none());
        pace.depart(Interactive, 1, 21);
        assert!(pace.estimate(Interactive, 1, 21).is_some());
        pace.arrive(Interactive, 1, 21);
        assert!(pace.estimate(Interactive, 1, 21).is_none());
    }

    #[test]
    fn chains_wait_for_the_runs_ahead_of_them() {
        let pace = pace();
        pace.publish(40, [0, 0]);
        assert_eq!(ms(pace.estimate(Interactive, 1, 21).unwrap()), (0, 21 * 8));
        // 640 runs are ten steps of the whole batch.
        pace.publish(64, [640, 0]);
        assert_eq!(ms(pace.estimate(Interactive, 1, 21).unwrap()), (80, 168));
        pace.depart(Interactive, 32, 20);
        assert_eq!(ms(pace.estimate(Interactive, 1, 21).unwrap()), (160, 168));
    }

    #[test]
    fn a_long_chain_is_in_the_way_for_a_slice() {
        let pace = pace();
        pace.publish(64, [0, 0]);
        pace.depart(Interactive, 32, 1 << 40);
        let estimate = pace.estimate(Interactive, 1, 200).unwrap();
        // Two slices of its own, each behind 32 of others.
        assert_eq!(ms(estimate), (2 * 32 * 100 * 8 / 64, 1600));
        pace.arrive(Interactive, 32, 1 << 40);
        assert_eq!(ms(pace.estimate(Interactive, 1, 200).unwrap()).0, 0);
    }

    #[test]
    fn each_class_reckons_with_its_rows() {
        let pace = pace();
        pace.publish(64, [480, 160]);
        // 48 rows and 16 rows, ten steps each.
        assert_eq!(ms(pace.estimate(Interactive, 1, 21).unwrap()).0, 80);
        assert_eq!(ms(pace.estimate(Bulk, 1, 21).unwrap()).0, 80);
        // Interactive work does not wait for bulk, however much there is.
        pace.publish(64, [0, 1 << 40]);
        assert_eq!(ms(pace.estimate(Interactive, 1, 21).unwrap()).0, 0);
        // Bulk waits for what little interactive work there is, not for its share.
        pace.publish(64, [64, 640]);
        assert_eq!(ms(pace.estimate(Bulk, 1, 21).unwrap()).0, 88);
    }

    #[test]
    fn the_speed_follows_the_steps() {
        let pace = pace();
        pace.publish(63, [0, 0]);
        for _ in 0..1000 {
            pace.observe_step(50, Duration::from_millis(20));
        }
        assert_eq!(ms(pace.estimate(Interactive, 1, 10).unwrap()).1, 200);
    }

    #[test]
    fn the_margin_is_what_few_answers_exceed() {
        let pace = pace();
        pace.publish(64, [640, 0]);
        let margin = || {
            let estimate = pace.estimate(Interactive, 1, 21).unwrap();
            estimate.margin.as_secs_f64() / estimate.expected().as_secs_f64()
        };
        assert_eq!(margin(), 0.0);
        let expected = Duration::from_secs(1);
        // Evenly from 1 to 1.5 times the estimate, in an order without runs.
        for index in 0..20_000 {
            let ratio = 1.0 + 0.5 * f64::from(index * 7919 % 1000) / 1000.0;
            pace.observe_answer(expected, expected.mul_f64(ratio));
        }
        assert!((0.4..0.6).contains(&margin()), "{}", margin());
        for _ in 0..1000 {
            pace.observe_answer(expected, expected);
        }
        assert_eq!(margin(), 0.0);
        for _ in 0..1000 {
            pace.observe_answer(expected, 100 * expected);
        }
        assert_eq!(margin(), MOST_OVERRUN - 1.0);
    }
}
