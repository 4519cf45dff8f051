//! What a call says beside its message.

use std::time::{Duration, Instant};

use tonic::Request;

use super::ServiceError;
use super::held::{Held, HeldMessage};
use super::layer::AnsweringModel;
use crate::wire;

/// What is left of a caller's time for the way back, so that it gets DEADLINE_EXCEEDED from here.
const REPLY_TIME: Duration = Duration::from_millis(2);

/// What a call says beside its message.
#[derive(Clone)]
pub(crate) struct Call {
    deadline: Option<Instant>,
    answering: AnsweringModel,
    held: Held,
}

impl Call {
    /// The call that a gRPC request is.
    pub(super) fn new<T>(request: &Request<T>) -> Result<Self, ServiceError> {
        let timeout = wire::timeout(request.metadata())?;
        let extensions = request.extensions();
        let call = Self {
            held: extensions.get().cloned().unwrap_or_default(),
            ..Self::counted_by(extensions.get().cloned().unwrap_or_default())
        };
        Ok(call.within(timeout))
    }

    /// A call without a deadline, whose model `answering` is told.
    pub(crate) fn counted_by(answering: AnsweringModel) -> Self {
        Self {
            deadline: None,
            answering,
            held: Held::default(),
        }
    }

    /// Counts the call as one of the model's.
    pub(super) fn set_model(&self, name: &str) {
        self.answering.set(name);
    }

    /// What the stream's message that was read last holds of the server's memory.
    pub(super) fn take_held(&self) -> Option<HeldMessage> {
        self.held.take()
    }

    /// When the answer is of no use any more.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// To be answered in so long, if that is sooner than before.
    pub(crate) fn within(self, timeout: Option<Duration>) -> Self {
        let deadline = timeout.map(|timeout| Instant::now() + timeout.saturating_sub(REPLY_TIME));
        Self {
            deadline: self.deadline.into_iter().chain(deadline).min(),
            ..self
        }
    }
}
