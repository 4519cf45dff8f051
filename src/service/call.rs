//! What a call says beside its message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;
use tonic::Request;

use super::ServiceError;
use super::held::{Held, HeldMessage};
use super::layer::AnsweringModel;
use crate::scheduler::SchedulerError;
use crate::transport::Sender;
use crate::wire;

/// What is left of a caller's time for the way back, so that it gets DEADLINE_EXCEEDED from here.
const REPLY_TIME: Duration = Duration::from_millis(2);

/// Who calls what.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The id of the request.
    pub(crate) request_id: Arc<str>,
    /// The RPC, also of a request over HTTP.
    pub(crate) method: Arc<str>,
    /// Who sent it.
    pub(crate) sender: Sender,
}

impl Caller {
    /// The caller of the request with that id.
    pub(crate) fn new(request_id: &HeaderValue, method: &str, sender: Sender) -> Self {
        Self {
            request_id: request_id.to_str().unwrap_or_default().into(),
            method: method.into(),
            sender,
        }
    }
}

impl Default for Caller {
    fn default() -> Self {
        Self {
            request_id: "".into(),
            method: "".into(),
            sender: Sender::default(),
        }
    }
}

/// What a call says beside its message.
#[derive(Clone)]
pub(crate) struct Call {
    caller: Caller,
    /// Which of the call's images it is about, where it has several.
    item: Option<Arc<str>>,
    deadline: Option<Instant>,
    answering: AnsweringModel,
    held: Held,
    /// Bytes of the server's memory that it holds already.
    holds: usize,
}

impl Call {
    /// The call that a gRPC request is.
    pub(super) fn new<T>(request: &Request<T>) -> Result<Self, ServiceError> {
        let timeout = wire::timeout(request.metadata())?;
        let extensions = request.extensions();
        let held: Held = extensions.get().cloned().unwrap_or_default();
        let call = Self {
            holds: held.bytes(),
            held,
            ..Self::of(
                extensions.get().cloned().unwrap_or_default(),
                extensions.get().cloned().unwrap_or_default(),
            )
        };
        Ok(call.within(timeout))
    }

    /// A call without a deadline, whose model `answering` is told.
    pub(crate) fn of(caller: Caller, answering: AnsweringModel) -> Self {
        Self {
            caller,
            item: None,
            deadline: None,
            answering,
            held: Held::default(),
            holds: 0,
        }
    }

    /// The part of the call that is about one of its images.
    pub(super) fn for_item(&self, item: &str) -> Self {
        Self {
            item: Some(item.into()),
            ..self.clone()
        }
    }

    /// Who calls.
    pub(super) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Which of the call's images it is about, where it has several.
    pub(super) fn item(&self) -> Option<&Arc<str>> {
        self.item.as_ref()
    }

    /// Counts the call as one of the model's.
    pub(super) fn set_model(&self, name: &str) {
        self.answering.set(name);
    }

    /// The part of a stream's call that is about the message that was read last, and what that holds of the
    /// server's memory.
    pub(super) fn for_message(&self) -> (Self, Option<HeldMessage>) {
        let call = self.clone().holding(self.held.bytes());
        (call, self.held.take())
    }

    /// The call, which holds so many bytes of the server's memory.
    pub(crate) fn holding(self, bytes: usize) -> Self {
        Self {
            holds: bytes,
            ..self
        }
    }

    /// Bytes of the server's memory that it holds already.
    pub(super) fn holds(&self) -> usize {
        self.holds
    }

    /// When the answer is of no use any more.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Waits for what the deadline leaves time for.
    ///
    /// # Errors
    /// When it has passed.
    pub(super) async fn in_time<T>(
        &self,
        awaited: impl Future<Output = T>,
    ) -> Result<T, SchedulerError> {
        match self.deadline {
            None => Ok(awaited.await),
            Some(deadline) => tokio::time::timeout_at(deadline.into(), awaited)
                .await
                .map_err(|_| SchedulerError::DeadlineExceeded),
        }
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
