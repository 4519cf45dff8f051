//! Samples of models' priors, with room of their own: a flood of them takes none of scoring's.
//!
//! A model draws for one request at a time, in the order in which they came, outside the threads
//! that serve connections. So many samples may wait or run, of a model and of the server, and no
//! request that would wait too long or be answered too late is let in: see
//! [`admission`](crate::admission).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lfbm_runtime::{RuntimeError, Sampler};
use tokio::sync::Mutex;
use tracing::Span;

use crate::admission::{Refusal, Room, Work};
use crate::request::Estimate;

/// Requests of the largest size that may wait or run for a model.
const MODEL_REQUESTS: usize = 16;
/// The same for all models together.
const SERVER_REQUESTS: usize = 64;
/// Weight of the newest request in the running mean of the time that a sample takes.
const NEWEST: f64 = 1.0 / 8.0;

/// Why a request has no samples.
#[derive(Debug, thiserror::Error)]
pub enum SamplingError {
    /// It was not let in.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Its deadline passed.
    #[error("the deadline passed before the samples were drawn")]
    DeadlineExceeded,
    /// A run of a graph failed.
    #[error("sampling failed: {0}")]
    Runtime(#[from] RuntimeError),
    /// The prior's own chains overflowed.
    #[error("the samples are not finite; the model must be fitted again")]
    Diverged,
    /// The thread that drew them panicked.
    #[error("sampling failed: it panicked")]
    Panicked,
}

/// What the models' samplers share. Clones share it too.
#[derive(Clone)]
pub struct Sampling {
    max_samples: usize,
    max_wait: Duration,
    server: Arc<Line>,
}

/// Samples that wait or run, and how long one takes.
struct Line {
    room: Room,
    /// Of one sample, the bits of an `f64`; 0 is unknown.
    seconds: AtomicU64,
}

/// Draws from the prior of a model.
pub struct ModelSampler {
    sampler: Arc<Mutex<Sampler>>,
    line: Arc<Line>,
    server: Arc<Line>,
}

impl Sampling {
    /// For requests of at most `max_samples` samples, which wait for `max_wait` at most.
    pub fn new(max_samples: u32, max_wait: Duration) -> Self {
        let max_samples = max_samples as usize;
        Self {
            max_samples,
            max_wait,
            server: Arc::new(Line::new(SERVER_REQUESTS * max_samples, max_wait)),
        }
    }

    /// A model's sampler.
    pub fn model_sampler(&self, sampler: Sampler) -> ModelSampler {
        let line = Line::new(MODEL_REQUESTS * self.max_samples, self.max_wait);
        ModelSampler {
            sampler: Arc::new(Mutex::new(sampler)),
            line: Arc::new(line),
            server: Arc::clone(&self.server),
        }
    }
}

impl ModelSampler {
    /// Draws `count` images x under `seed` and makes the answer of them, n x C H W. A request that
    /// is dropped, or whose deadline passes, leaves the line; what has begun runs to its end.
    ///
    /// # Errors
    /// When the request is not let in, its deadline passes, or a run fails.
    pub async fn draw<T: Send + 'static>(
        &self,
        count: u32,
        seed: u64,
        deadline: Option<Instant>,
        answer: impl FnOnce(Vec<f32>) -> T + Send + 'static,
    ) -> Result<T, SamplingError> {
        let estimate = self.line.estimate(count);
        let room = self.line.room.admit(count, estimate, deadline)?;
        let of_server = self.server.room.take(count, self.server.done_in())?;
        let lines = [&self.line, &self.server].map(Arc::clone);
        let span = Span::current();
        let drawn = async {
            let mut sampler = Arc::clone(&self.sampler).lock_owned().await;
            let work = move || {
                let _entered = span.enter();
                let _room = (room, of_server);
                let started = Instant::now();
                let drawn = sampler
                    .sample(count as usize, seed)
                    .map_err(SamplingError::from);
                let answer = drawn.and_then(|x| {
                    let finite = x.iter().all(|value| value.is_finite());
                    finite.then(|| answer(x)).ok_or(SamplingError::Diverged)
                });
                for line in lines {
                    line.observe(count, started.elapsed());
                }
                answer
            };
            tokio::task::spawn_blocking(work).await
        };
        let drawn = match deadline {
            None => drawn.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), drawn)
                .await
                .map_err(|_| SamplingError::DeadlineExceeded)?,
        };
        drawn.map_err(|_| SamplingError::Panicked)?
    }
}

impl Line {
    fn new(limit: usize, max_wait: Duration) -> Self {
        Self {
            room: Room::new(Work::Samples, limit, max_wait),
            seconds: AtomicU64::new(0),
        }
    }

    /// How long a request would wait and run if it came now; `None` if nothing waits or runs.
    fn estimate(&self, count: u32) -> Option<Estimate> {
        (self.room.in_flight() > 0).then(|| Estimate {
            wait: self.done_in(),
            run: self.duration(count as usize),
            margin: Duration::ZERO,
        })
    }

    /// When what waits and runs now is done, if one sample is drawn after the other.
    fn done_in(&self) -> Duration {
        self.duration(self.room.in_flight())
    }

    fn duration(&self, count: usize) -> Duration {
        let seconds = f64::from_bits(self.seconds.load(Ordering::Relaxed));
        Duration::try_from_secs_f64(count as f64 * seconds).unwrap_or(Duration::MAX)
    }

    /// Records that `count` samples took `took`.
    fn observe(&self, count: u32, took: Duration) {
        let now = took.as_secs_f64() / f64::from(count.max(1));
        let mean = f64::from_bits(self.seconds.load(Ordering::Relaxed));
        let next = if mean == 0.0 {
            now
        } else {
            mean + NEWEST * (now - mean)
        };
        // A concurrent update may be lost; the next one is as good.
        self.seconds.store(next.to_bits(), Ordering::Relaxed);
    }
}
