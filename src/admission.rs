//! Admission: bounds the work in the server, and refuses requests that would wait too long.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::request::{Estimate, Permit, Priority};

/// Bounds of the time after which a refused client is told to try again.
const RETRY_AFTER: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(60)];

/// What requests take room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Langevin chains.
    Chains,
    /// Samples of a prior.
    Samples,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chains => "chains",
            Self::Samples => "samples",
        })
    }
}

/// Bounds the chains of a version of a model, or of all models, that are in the server, so that overload is answered at
/// once.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Each class has its own, so that neither is kept out by the other.
    rooms: [Room; 2],
}

/// Room for a bounded amount of work.
#[derive(Clone, Debug)]
pub struct Room {
    work: Work,
    limit: usize,
    max_wait: Duration,
    free: Arc<Semaphore>,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no room for its work.
    #[error("{in_flight} {work} wait or run and {asked} more were asked for; the limit is {limit}")]
    Full {
        /// What there is no room for.
        work: Work,
        /// Chains of its class, or samples, that wait or run.
        in_flight: usize,
        /// Those of the request.
        asked: u32,
        /// The limit on both.
        limit: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// It would wait too long.
    #[error("the request would wait {wait:.1?} for its {work}; the limit is {limit:.1?}")]
    Queue {
        /// What it would wait for.
        work: Work,
        /// How long it would wait.
        wait: Duration,
        /// The limit.
        limit: Duration,
        /// When to try again.
        retry_after: Duration,
    },
    /// The queue is too long for its deadline.
    #[error("the request would be answered in {needed:.1?} and its deadline is in {left:.1?}")]
    Deadline {
        /// How long it would take, with the margin.
        needed: Duration,
        /// How long it may take.
        left: Duration,
        /// When to try again.
        retry_after: Duration,
    },
    /// Its deadline is too short, however short the queue is.
    #[error("the request's {work} take {run:.1?} and its deadline is in {left:.1?}")]
    Unreachable {
        /// What takes so long.
        work: Work,
        /// How long it would take without waiting.
        run: Duration,
        /// How long it may take.
        left: Duration,
    },
}

impl Admission {
    /// Room for `max_chains` chains of each class; interactive requests may wait for `max_wait`.
    pub fn new(max_chains: usize, max_wait: Duration) -> Self {
        let room = |max_wait| Room::new(Work::Chains, max_chains, max_wait);
        Self {
            rooms: [room(max_wait), room(Duration::MAX)],
        }
    }

    /// Lets a request of so many chains in, and says how long it will take. An interactive one is refused at
    /// once where there is no room; a bulk one waits for it, in the order of arrival. A request with more
    /// chains than there may be takes all the room there is. Without an estimate, time refuses nothing.
    ///
    /// # Errors
    /// When there is no room for its chains, or it would wait too long, or be answered too late.
    pub async fn admit(
        &self,
        priority: Priority,
        chains: u32,
        estimate: impl Fn() -> Option<Estimate>,
        deadline: Option<Instant>,
    ) -> Result<(Permit, Option<Estimate>), Refusal> {
        let room = &self.rooms[priority as usize];
        let now = estimate();
        match room.admit(chains, now, deadline) {
            Err(Refusal::Full { .. }) if priority == Priority::Bulk => {
                let permit = room.wait(chains).await;
                let now = estimate();
                room.check(now, deadline)?;
                Ok((permit, now))
            }
            admitted => Ok((admitted?, now)),
        }
    }
}

impl Room {
    /// Room for so much work, none of which may wait for longer than `max_wait`.
    pub fn new(work: Work, limit: usize, max_wait: Duration) -> Self {
        Self {
            work,
            limit,
            max_wait,
            free: Arc::new(Semaphore::new(limit)),
        }
    }

    /// Work that waits or runs.
    pub fn in_flight(&self) -> usize {
        self.limit.saturating_sub(self.free.available_permits())
    }

    /// Lets a request in, or refuses it at once. Without an estimate, time refuses nothing.
    ///
    /// # Errors
    /// When there is no room for its work, or it would wait too long, or be answered too late.
    pub fn admit(
        &self,
        asked: u32,
        estimate: Option<Estimate>,
        deadline: Option<Instant>,
    ) -> Result<Permit, Refusal> {
        self.check(estimate, deadline)?;
        // By then, what waits now runs.
        self.take(asked, estimate.map_or(Duration::ZERO, |now| now.wait))
    }

    /// Refuses a request that would wait too long or be answered too late.
    fn check(&self, estimate: Option<Estimate>, deadline: Option<Instant>) -> Result<(), Refusal> {
        let work = self.work;
        if let Some(now) = estimate {
            let Estimate { wait, run, margin } = now;
            let needed = now.expected().saturating_add(margin);
            if let Some(deadline) = deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                if run > left {
                    return Err(Refusal::Unreachable { work, run, left });
                }
                if needed > left {
                    return Err(Refusal::Deadline {
                        needed,
                        left,
                        retry_after: retry_after(needed - left),
                    });
                }
            }
            if wait > self.max_wait {
                return Err(Refusal::Queue {
                    work,
                    wait,
                    limit: self.max_wait,
                    retry_after: retry_after(wait - self.max_wait),
                });
            }
        }
        Ok(())
    }

    /// So many permits, or all that there are.
    fn permits(&self, asked: u32) -> u32 {
        asked.min(u32::try_from(self.limit).unwrap_or(u32::MAX))
    }

    /// Takes room as soon as there is some; those that ask first get it first.
    async fn wait(&self, asked: u32) -> Permit {
        let free = Arc::clone(&self.free);
        let permits = free.acquire_many_owned(self.permits(asked)).await;
        Permit::from(permits.ok())
    }

    /// Takes room, all of it for more work than there may be, or refuses the request until what is in it is
    /// done, `done_in` from now.
    ///
    /// # Errors
    /// When there is no room.
    pub fn take(&self, asked: u32, done_in: Duration) -> Result<Permit, Refusal> {
        Arc::clone(&self.free)
            .try_acquire_many_owned(self.permits(asked))
            .map(|permits| Permit::from(Some(permits)))
            .map_err(|_| Refusal::Full {
                work: self.work,
                in_flight: self.in_flight(),
                asked,
                limit: self.limit,
                retry_after: retry_after(done_in),
            })
    }
}

fn retry_after(time: Duration) -> Duration {
    let [least, most] = RETRY_AFTER;
    time.clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Bulk, Interactive};

    const SECOND: Duration = Duration::from_secs(1);

    fn estimate(wait: Duration, run: Duration) -> Option<Estimate> {
        Some(Estimate {
            wait,
            run,
            margin: Duration::ZERO,
        })
    }

    type Admitted = Result<Permit, Refusal>;

    async fn admit(
        room: &Admission,
        class: Priority,
        chains: u32,
        now: Option<Estimate>,
    ) -> Admitted {
        let admitted = room.admit(class, chains, || now, None).await;
        admitted.map(|(permit, _)| permit)
    }

    #[tokio::test]
    async fn a_class_is_refused_at_its_limit_and_let_in_again_after_a_drop() {
        let admission = Admission::new(4, SECOND);
        let three = admit(&admission, Interactive, 3, None).await.unwrap();
        let waits = estimate(SECOND / 2, SECOND);
        assert_eq!(
            admit(&admission, Interactive, 2, waits).await.unwrap_err(),
            Refusal::Full {
                work: Work::Chains,
                in_flight: 3,
                asked: 2,
                limit: 4,
                retry_after: SECOND / 2,
            }
        );
        let _bulk = admit(&admission, Bulk, 4, None).await.unwrap();
        drop(three);
        assert!(admit(&admission, Interactive, 4, None).await.is_ok());
    }

    #[tokio::test]
    async fn bulk_waits_for_room_in_the_order_of_arrival() {
        let admission = Admission::new(4, SECOND);
        let three = admit(&admission, Bulk, 3, None).await.unwrap();
        let waiting = |chains| {
            let admission = admission.clone();
            tokio::spawn(async move { admit(&admission, Bulk, chains, None).await.unwrap() })
        };
        let large = waiting(4);
        tokio::task::yield_now().await;
        let small = waiting(1);
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(!large.is_finished() && !small.is_finished());
        drop(three);
        let large = large.await.unwrap();
        assert!(!small.is_finished(), "the large one came first");
        drop(large);
        small.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_of_more_chains_than_there_may_be_takes_all_the_room() {
        let admission = Admission::new(4, SECOND);
        for class in [Interactive, Bulk] {
            let all = admit(&admission, class, 1000, None).await.unwrap();
            let room = &admission.rooms[class as usize];
            assert_eq!(room.in_flight(), 4);
            drop(all);
            assert_eq!(room.in_flight(), 0);
        }
        let one = admit(&admission, Interactive, 1, None).await.unwrap();
        assert!(admit(&admission, Interactive, 1000, None).await.is_err());
        drop(one);
    }

    #[tokio::test]
    async fn interactive_requests_do_not_wait_beyond_the_limit() {
        let admission = Admission::new(4, SECOND);
        let long = estimate(3 * SECOND, SECOND);
        let refusal = admit(&admission, Interactive, 1, long).await.unwrap_err();
        let Refusal::Queue { retry_after, .. } = refusal else {
            panic!("{refusal:?}");
        };
        assert_eq!(retry_after, 2 * SECOND);
        assert!(admit(&admission, Bulk, 1, long).await.is_ok());
    }

    #[test]
    fn a_deadline_that_cannot_be_met_is_refused() {
        let room = Room::new(Work::Chains, 4, 10 * SECOND);
        let deadline = Some(Instant::now() + 3 * SECOND);
        let refusal = |wait, run| {
            let admitted = room.admit(1, estimate(wait, run), deadline);
            admitted.err()
        };
        assert_eq!(refusal(SECOND, SECOND), None);
        let uncertain = Estimate {
            wait: SECOND,
            run: SECOND,
            margin: 2 * SECOND,
        };
        let refused = room.admit(1, Some(uncertain), deadline);
        assert!(matches!(refused, Err(Refusal::Deadline { .. })));
        assert!(matches!(
            refusal(2 * SECOND, 2 * SECOND),
            Some(Refusal::Deadline { retry_after, .. }) if retry_after > SECOND
        ));
        assert!(matches!(
            refusal(Duration::ZERO, 4 * SECOND),
            Some(Refusal::Unreachable { .. })
        ));
    }
}
