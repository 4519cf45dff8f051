//! When requests are due.

use std::thread;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand_distr::{Distribution, Exp};
use tokio::sync::mpsc::UnboundedSender;

/// Hands out the due times of a Poisson process with `rate`, in 1/s, until `end`, each when it has come.
///
/// A thread of its own keeps the time, because the timers of Tokio tick once a millisecond, and
/// many requests take less.
pub(super) fn poisson(rate: Exp<f64>, end: Instant, seed: u64, due: UnboundedSender<Instant>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut next = Instant::now();
    thread::spawn(move || {
        loop {
            next += Duration::from_secs_f64(rate.sample(&mut rng));
            if next >= end {
                return;
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
            if due.send(next).is_err() {
                return;
            }
        }
    });
}
