//! How much work may be in the server at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Which requests have the right of way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for the answer.
    Interactive,
    /// Throughput counts, latency does not.
    Bulk,
}

/// Bounds the chains that wait or run, so that overload is answered at once.
#[derive(Clone, Debug)]
pub struct Admission {
    free: Arc<Semaphore>,
    limit: usize,
}

/// Room for the chains of one request; given back on drop.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code)] OwnedSemaphorePermit);

/// There is no room for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{in_flight} chains wait or run and {asked} more were asked for; the limit is {limit}")]
pub struct Overloaded {
    /// Chains that wait or run.
    pub in_flight: usize,
    /// Chains of the request.
    pub asked: u32,
    /// The limit on both.
    pub limit: usize,
}

impl Admission {
    /// Room for `limit` chains.
    pub fn new(limit: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    /// Takes room for `chains` chains, or refuses at once.
    ///
    /// # Errors
    /// When there is not enough.
    pub fn admit(&self, chains: u32) -> Result<Permit, Overloaded> {
        Arc::clone(&self.free)
            .try_acquire_many_owned(chains)
            .map(Permit)
            .map_err(|_| Overloaded {
                in_flight: self.in_flight(),
                asked: chains,
                limit: self.limit,
            })
    }

    /// Chains that wait or run.
    pub fn in_flight(&self) -> usize {
        self.limit - self.free.available_permits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_at_the_limit_and_has_room_again_after_a_drop() {
        let admission = Admission::new(4);
        let three = admission.admit(3).unwrap();
        let refused = admission.admit(2).unwrap_err();
        assert_eq!((refused.in_flight, refused.asked, refused.limit), (3, 2, 4));
        let one = admission.admit(1).unwrap();
        drop(three);
        assert_eq!(admission.in_flight(), 1);
        assert!(admission.admit(3).is_ok());
        drop(one);
    }
}
