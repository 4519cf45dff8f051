//! How the requests of a model ended, for clients that ask the server instead of Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Requests of one model that wanted an inference, since it was loaded.
#[derive(Debug, Default)]
pub struct Statistics {
    success: Ended,
    fail: Ended,
    /// Milliseconds since 1970; 0 before the first.
    last_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct Ended {
    count: AtomicU64,
    nanoseconds: AtomicU64,
}

/// How many ended so, and how long all of them took together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Requests.
    pub count: u64,
    /// From the time that their model was known to the answer.
    pub nanoseconds: u64,
}

impl Statistics {
    /// Counts a request that ended.
    pub(super) fn observe(&self, success: bool, took: Duration) {
        let ended = if success { &self.success } else { &self.fail };
        ended.count.fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        ended.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        #[expect(
            clippy::disallowed_methods,
            reason = "a date for clients; nothing is timed by it"
        )]
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_millis() as u64);
        self.last_ms.fetch_max(now, Ordering::Relaxed);
    }

    /// Requests that were answered.
    pub fn success(&self) -> Total {
        self.success.total()
    }

    /// Requests that were answered with an error; those that their clients gave up are neither.
    pub fn fail(&self) -> Total {
        self.fail.total()
    }

    /// When the last request ended, in milliseconds since 1970; 0 before the first.
    pub fn last_ms(&self) -> u64 {
        self.last_ms.load(Ordering::Relaxed)
    }
}

impl Ended {
    fn total(&self) -> Total {
        Total {
            count: self.count.load(Ordering::Relaxed),
            nanoseconds: self.nanoseconds.load(Ordering::Relaxed),
        }
    }
}
