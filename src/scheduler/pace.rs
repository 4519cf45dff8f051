//! Estimates how long a request would wait and run, from measured step times.

use std::time::Duration;

use super::queue::bulk_rows;
use crate::request::{Estimate, Priority};

/// Weight of the newest step of every worker in the running mean: a step that was held up once does
/// not make requests look unreachable.
const NEWEST: f64 = 1.0 / 64.0;
/// The share of answers that may come later than estimated and the margin.
const LATE_SHARE: f64 = 0.02;
/// How far a late answer moves the margin, relative to the estimate.
const OVERRUN_GAIN: f64 = 0.05;
/// An estimate is never doubled: what takes longer than that is no matter of margins.
const MOST_OVERRUN: f64 = 2.0;
/// Batch sizes are told apart by their power of two.
const SIZES: usize = usize::BITS as usize;

pub(super) struct Pace {
    capacity: usize,
    /// Among which rows are shared evenly; their steps go on side by side.
    workers: usize,
    bulk_rows: usize,
    /// Runs after which a chain lets others have its row.
    slice_runs: u64,
    /// Seconds of a worker's step, of batches of up to 2^i rows; 0 is unknown.
    step_seconds: [f64; SIZES],
    /// Seconds that a worker needs to read the sites of an image; 0 where images have none.
    reading_seconds: f64,
    /// What all answers but [`LATE_SHARE`] take at most, in times of their estimates.
    overrun: f64,
}

/// What there is to do.
pub(super) struct Load {
    /// Rows in use.
    pub(super) rows: usize,
    /// Runs of the graph before the last waiting chain gets a row, by class, times rows.
    pub(super) queued: [u64; 2],
    /// Images whose sites are not read yet.
    pub(super) unread: usize,
}

impl Pace {
    pub(super) fn new(capacity: usize, workers: usize, bulk_share: f64, slice_runs: u64) -> Self {
        Self {
            capacity,
            workers,
            bulk_rows: bulk_rows(capacity, bulk_share),
            slice_runs,
            step_seconds: [0.0; SIZES],
            reading_seconds: 0.0,
            overrun: 1.0,
        }
    }

    /// Runs after which a chain that needs `runs` is out of others' way.
    pub(super) fn turn(&self, runs: u64) -> u64 {
        runs.min(self.slice_runs)
    }

    /// A step of a worker's `rows` rows took so long.
    pub(super) fn observe_step(&mut self, rows: usize, took: Duration) {
        let newest = NEWEST / self.workers as f64;
        update(&mut self.step_seconds[size(rows)], took, newest);
    }

    /// A worker read the sites of an image in so much time.
    pub(super) fn observe_reading(&mut self, took: Duration) {
        update(&mut self.reading_seconds, took, NEWEST);
    }

    /// A job was to be answered in `expected`, and took so long.
    pub(super) fn observe_answer(&mut self, expected: Duration, took: Duration) {
        let late = took.as_secs_f64() > self.overrun * expected.as_secs_f64();
        // Stays where it is on average once the right share is late (Robbins and Monro, 1951).
        let change = OVERRUN_GAIN * (f64::from(u8::from(late)) - LATE_SHARE);
        self.overrun = (self.overrun * (1.0 + change)).clamp(1.0, MOST_OVERRUN);
    }

    /// At the present speed, how long `chains` chains of `runs` runs each would wait and run if they
    /// came now; `None` if nothing runs or waits. (What was measured may be out of date then, and is
    /// measured anew by trying.)
    pub(super) fn estimate(
        &self,
        load: &Load,
        priority: Priority,
        chains: u32,
        runs: u64,
    ) -> Option<Estimate> {
        let Load {
            rows,
            queued: [interactive, bulk],
            unread,
        } = *load;
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
        // A chain of several slices stands in line for each; images ahead are read by all workers.
        let reads = unread as f64 * self.reading_seconds / self.workers as f64;
        let wait = line * runs.div_ceil(self.slice_runs) as f64 + reads;
        let together = (rows + chains).min(self.capacity);
        let rounds = chains.div_ceil(self.capacity);
        let steps = runs as f64 * self.step_seconds(together) * rounds as f64;
        let run = self.reading_seconds + steps;
        let duration = |seconds| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Some(Estimate {
            wait: duration(wait),
            run: duration(run),
            margin: duration((wait + run) * (self.overrun - 1.0)),
        })
    }

    /// Of a step when all workers together have `rows` rows.
    fn step_seconds(&self, rows: usize) -> f64 {
        let known = &self.step_seconds[size(rows.div_ceil(self.workers))..];
        // Of sizes that are padded, the next is known.
        known.iter().copied().find(|s| *s > 0.0).unwrap_or(0.0)
    }
}

/// Moves a running mean, in seconds, by the weight of a new value; 0 is unknown.
fn update(mean: &mut f64, took: Duration, weight: f64) {
    let now = took.as_secs_f64();
    if *mean == 0.0 {
        *mean = now;
    } else {
        *mean += weight * (now - *mean);
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
        let mut pace = Pace::new(64, 1, 0.25, 100);
        pace.observe_step(1, Duration::from_millis(1));
        pace.observe_step(64, Duration::from_millis(8));
        pace
    }

    /// Milliseconds of wait and run of one chain of `runs` runs, beside such a load.
    fn ms(pace: &Pace, rows: usize, queued: [u64; 2], class: Priority, runs: u64) -> (u128, u128) {
        let estimate = pace.estimate(
            &Load {
                rows,
                queued,
                unread: 0,
            },
            class,
            1,
            runs,
        );
        let estimate = estimate.unwrap();
        (
            (estimate.wait.as_secs_f64() * 1e3).round() as u128,
            (estimate.run.as_secs_f64() * 1e3).round() as u128,
        )
    }

    #[test]
    fn an_idle_scheduler_estimates_nothing() {
        let estimate = |rows, queued| {
            pace().estimate(
                &Load {
                    rows,
                    queued,
                    unread: 0,
                },
                Interactive,
                1,
                21,
            )
        };
        assert!(estimate(0, [0, 0]).is_none());
        assert!(estimate(1, [0, 0]).is_some());
        assert!(estimate(0, [0, 21]).is_some());
    }

    #[test]
    fn chains_wait_for_the_runs_ahead_of_them() {
        let pace = pace();
        assert_eq!(ms(&pace, 40, [0, 0], Interactive, 21), (0, 21 * 8));
        // 640 runs are ten steps of the whole batch.
        assert_eq!(ms(&pace, 64, [640, 0], Interactive, 21), (80, 168));
    }

    #[test]
    fn workers_step_side_by_side() {
        let mut pace = Pace::new(64, 4, 0.25, 100);
        pace.observe_step(8, Duration::from_millis(5));
        pace.observe_step(16, Duration::from_millis(8));
        assert_eq!(ms(&pace, 64, [640, 0], Interactive, 21), (80, 168));
        assert_eq!(ms(&pace, 28, [0, 0], Interactive, 21), (0, 21 * 5));
    }

    #[test]
    fn a_long_chain_is_in_the_way_for_a_slice() {
        let pace = pace();
        assert_eq!(pace.turn(1 << 40), 100);
        // Two slices of its own, each behind 32 of others.
        let expected = (2 * 32 * 100 * 8 / 64, 1600);
        assert_eq!(ms(&pace, 64, [3200, 0], Interactive, 200), expected);
    }

    #[test]
    fn each_class_reckons_with_its_rows() {
        let pace = pace();
        // 48 rows and 16 rows, ten steps each.
        assert_eq!(ms(&pace, 64, [480, 160], Interactive, 21).0, 80);
        assert_eq!(ms(&pace, 64, [480, 160], Bulk, 21).0, 80);
        // Interactive work does not wait for bulk, however much there is.
        assert_eq!(ms(&pace, 64, [0, 1 << 40], Interactive, 21).0, 0);
        // Bulk waits for what little interactive work there is, not for its share.
        assert_eq!(ms(&pace, 64, [64, 640], Bulk, 21).0, 88);
    }

    #[test]
    fn the_speed_follows_the_steps() {
        let mut pace = pace();
        for _ in 0..1000 {
            pace.observe_step(50, Duration::from_millis(20));
        }
        assert_eq!(ms(&pace, 63, [0, 0], Interactive, 10).1, 200);
    }

    #[test]
    fn the_margin_is_what_few_answers_exceed() {
        let mut pace = pace();
        let margin = |pace: &Pace| {
            let load = Load {
                rows: 64,
                queued: [640, 0],
                unread: 0,
            };
            let estimate = pace.estimate(&load, Interactive, 1, 21).unwrap();
            estimate.margin.as_secs_f64() / estimate.expected().as_secs_f64()
        };
        assert_eq!(margin(&pace), 0.0);
        let expected = Duration::from_secs(1);
        // Evenly from 1 to 1.5 times the estimate, in an order without runs.
        for index in 0..20_000 {
            let ratio = 1.0 + 0.5 * f64::from(index * 7919 % 1000) / 1000.0;
            pace.observe_answer(expected, expected.mul_f64(ratio));
        }
        let found = margin(&pace);
        assert!((0.4..0.6).contains(&found), "{found}");
        for _ in 0..1000 {
            pace.observe_answer(expected, expected);
        }
        assert_eq!(margin(&pace), 0.0);
        for _ in 0..1000 {
            pace.observe_answer(expected, 100 * expected);
        }
        assert_eq!(margin(&pace), MOST_OVERRUN - 1.0);
    }
}
