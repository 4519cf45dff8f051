//! What a run measured.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

use hdrhistogram::errors::CreationError;
use lfbm_wire::Priority;
use tonic::{Code, Status};

use super::latency::Latencies;
use crate::status::{code, describe};

/// The time that is measured, after the warm-up.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) from: Instant,
    pub(super) to: Instant,
}

impl Window {
    fn contains(&self, instant: Instant) -> bool {
        (self.from..self.to).contains(&instant)
    }
}

/// How one request went.
pub(super) struct Outcome {
    pub(super) priority: Priority,
    /// When it should have been sent.
    pub(super) due: Instant,
    pub(super) sent: Instant,
    pub(super) answered: Instant,
    /// What came instead of a score.
    pub(super) error: Option<Status>,
    /// Queue and compute time, as the server gives them.
    pub(super) server_times: Option<(Duration, Duration)>,
}

/// Requests of one priority with the same code.
pub(super) struct Answers {
    /// From the time when requests were due to their answers, for those due in the window.
    pub(super) latency: Latencies,
    /// Answers that came in the window.
    pub(super) in_window: u64,
    /// The first error.
    pub(super) error: Option<String>,
}

pub(super) struct Measurement {
    window: Window,
    /// Set when the run was stopped before its time.
    pub(super) stopped: Option<Instant>,
    /// By priority and code.
    pub(super) answers: BTreeMap<(Priority, i32), Answers>,
    /// How late requests were sent: the share of the latency that is the generator's own.
    pub(super) send_delay: Latencies,
    pub(super) queue: Latencies,
    pub(super) compute: Latencies,
    /// Requests due in the window that were not sent, because too many were outstanding.
    pub(super) not_sent: u64,
    pub(super) peak_outstanding: usize,
}

impl Measurement {
    pub(super) fn new(window: Window) -> Result<Self, CreationError> {
        Ok(Self {
            window,
            stopped: None,
            answers: BTreeMap::new(),
            send_delay: Latencies::new()?,
            queue: Latencies::new()?,
            compute: Latencies::new()?,
            not_sent: 0,
            peak_outstanding: 0,
        })
    }

    pub(super) fn record(&mut self, outcome: Outcome) -> Result<(), CreationError> {
        let due = self.window.contains(outcome.due);
        let answered = self.window.contains(outcome.answered);
        if !due && !answered {
            return Ok(());
        }
        let code = outcome.error.as_ref().map_or(Code::Ok, code);
        let answers = match self.answers.entry((outcome.priority, i32::from(code))) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(Answers {
                latency: Latencies::new()?,
                in_window: 0,
                error: outcome.error.as_ref().map(describe),
            }),
        };
        answers.in_window += u64::from(answered);
        if due {
            answers.latency.record(outcome.answered - outcome.due);
            self.send_delay.record(outcome.sent - outcome.due);
            if let Some((queue, compute)) = outcome.server_times {
                self.queue.record(queue);
                self.compute.record(compute);
            }
        }
        Ok(())
    }

    /// Takes note of how many requests are under way.
    pub(super) fn outstanding(&mut self, count: usize) {
        self.peak_outstanding = self.peak_outstanding.max(count);
    }

    pub(super) fn record_not_sent(&mut self, due: Instant) {
        self.not_sent += u64::from(self.window.contains(due));
    }

    /// How long was measured.
    pub(super) fn duration(&self) -> Duration {
        let end = self
            .stopped
            .map_or(self.window.to, |stopped| stopped.min(self.window.to));
        end.saturating_duration_since(self.window.from)
    }

    /// Requests due in the window, a second: what the server was asked for.
    pub(super) fn offered_per_s(&self) -> f64 {
        let answered: u64 = self
            .answers
            .values()
            .map(|answers| answers.latency.len())
            .sum();
        (answered + self.not_sent) as f64 / self.duration().as_secs_f64()
    }

    /// Successful answers a second.
    pub(super) fn goodput_per_s(&self) -> f64 {
        let codes = self.answers.iter();
        let ok = codes.filter(|((_, code), _)| *code == i32::from(Code::Ok));
        let answers: u64 = ok.map(|(_, answers)| answers.in_window).sum();
        answers as f64 / self.duration().as_secs_f64()
    }
}
