//! Where the server is between its start and its end: the one value that health, readiness, streams
//! and connections follow.

use tokio::sync::watch;

/// A phase; each comes after the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Requests are answered.
    Serving,
    /// Requests are answered, and health says that they soon will not be.
    Leaving,
    /// What is under way is finished, and nothing new is taken.
    Draining,
}

/// Sets the phase.
#[derive(Debug)]
pub struct Lifecycle(watch::Sender<Phase>);

/// Follows the phase.
#[derive(Clone, Debug)]
pub struct Phases(watch::Receiver<Phase>);

impl Lifecycle {
    /// A server that serves, and what follows it.
    pub fn serving() -> (Self, Phases) {
        let (sender, receiver) = watch::channel(Phase::Serving);
        (Self(sender), Phases(receiver))
    }

    /// Says that the server will stop, so that load balancers look elsewhere.
    pub fn leave(&self) {
        self.0.send_replace(Phase::Leaving);
    }

    /// Says that nothing new is taken.
    pub fn drain(&self) {
        self.0.send_replace(Phase::Draining);
    }
}

impl Phases {
    /// Whether the server was not told to stop yet.
    pub fn is_serving(&self) -> bool {
        *self.0.borrow() == Phase::Serving
    }

    /// Whether nothing new is taken.
    pub fn is_draining(&self) -> bool {
        *self.0.borrow() == Phase::Draining
    }

    /// Returns once the server drains.
    pub async fn draining(&mut self) {
        // A sender that is gone means the same.
        let _ = self.0.wait_for(|phase| *phase == Phase::Draining).await;
    }
}
