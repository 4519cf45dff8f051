//! Errors of requests: [`Report`] is what every protocol says of one, and a gRPC status is made of it.

mod control;
mod report;
mod status;

use image::ImageError;
use lfbm_detector::RateError;
use lfbm_runtime::RuntimeError;
use tonic::{Code, Status};

use crate::admission::{Refusal, Work};
use crate::audit::NoRoom;
use crate::memory::Exhausted;
use crate::models::{NotWholeImages, Unknown};
use crate::request::{Violation, cut};
use crate::sampling::SamplingError;
use crate::scheduler::SchedulerError;
use crate::score::Diverged;
use crate::telemetry::Metrics;
use crate::wire::{Unfit, UnknownEncoding};

pub use self::control::ControlError;
pub(crate) use self::report::{Cause, Report};

/// What helps a client whose messages are late.
pub(crate) const RAISE_MESSAGE_TIMEOUT: &str = "raise --message-timeout-s";

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Fields are wrong.
    #[error("{}", report::text(.0))]
    Invalid(Vec<Violation>),
    /// A message would take more memory than any request needs.
    #[error("{0}")]
    Unfit(Unfit),
    /// Requests hold all the memory that they may.
    #[error(transparent)]
    Memory(#[from] Exhausted),
    /// The request is packed in a way that is not known.
    #[error(transparent)]
    Encoding(#[from] UnknownEncoding),
    /// A message is not complete in time.
    #[error(
        "expected the whole message within {seconds} s, got a part of it; send it faster, or {remedy}"
    )]
    Late {
        /// How long a message may take.
        seconds: u64,
        /// What helps where sending it faster is not possible.
        remedy: &'static str,
    },
    /// No model fits.
    #[error(transparent)]
    Unknown(Unknown),
    /// The model cannot do what is asked for.
    #[error(transparent)]
    NotWholeImages(#[from] NotWholeImages),
    /// There is too much to do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Inference failed.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// A chain produced a non-finite density.
    #[error(transparent)]
    Diverged(#[from] Diverged),
    /// The model produced a value that is not finite.
    #[error("expected finite values from the model, got others for {0}")]
    NotFinite(&'static str),
    /// The request carries no token, or one that is not known.
    #[error("expected `authorization: Bearer TOKEN` with a token of this server")]
    Unauthenticated,
    /// The prior could not be sampled.
    #[error(transparent)]
    Sampling(SamplingError),
    /// An image of the reply could not be encoded.
    #[error("the reply could not be encoded: {0}")]
    Render(#[from] ImageError),
    /// The audit log has no room.
    #[error(transparent)]
    Audit(#[from] NoRoom),
    /// A model is not loaded or unloaded.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The server stops.
    #[error("the server stops; send what has no answer again")]
    Draining,
    /// A message has more bytes than the server takes.
    #[error("the message is too long: {0} (--max-message-bytes; 65536 for health and reflection)")]
    TooLong(String),
    /// A message is not what the method takes.
    #[error("the message cannot be read: {0}")]
    Unreadable(String),
    /// The request's code panicked.
    #[error("the server made a mistake; it is logged under the request's id")]
    Panicked,
}

impl ServiceError {
    /// What tonic, which reads messages, found wrong with one. It blames the server.
    pub(super) fn of_message(status: &Status) -> Option<Self> {
        const TOO_LONG: &str = "Error, decoded message length too large: ";
        let message = || status.message().trim_start_matches(TOO_LONG).to_owned();
        match status.code() {
            _ if !status.details().is_empty() => None,
            // As received, and decompressed.
            Code::OutOfRange | Code::ResourceExhausted => Some(Self::TooLong(message())),
            Code::Internal => Some(Self::Unreadable(message())),
            _ => None,
        }
    }

    /// The status that the client gets; counts and logs it.
    pub fn into_status(self, metrics: &Metrics) -> Status {
        self.observe(metrics);
        self.into()
    }

    /// Counts what was refused, logs what is the server's fault.
    pub(crate) fn observe(&self, metrics: &Metrics) {
        match self.refusal() {
            Some(reason) => {
                metrics.reject(reason);
                tracing::debug!(error = %self, "request refused");
            }
            None if self.is_fault() => tracing::error!(error = %self, "request failed"),
            None => tracing::debug!(error = %self, "request has no answer"),
        }
    }

    /// Whether it is the server's fault and not the request's.
    fn is_fault(&self) -> bool {
        match self {
            Self::Scheduler(error) => !matches!(error, SchedulerError::DeadlineExceeded),
            Self::Sampling(error) => !matches!(
                error,
                SamplingError::DeadlineExceeded
                    | SamplingError::Diverged
                    | SamplingError::Runtime(RuntimeError::NoPriorGraph)
            ),
            Self::Panicked | Self::Render(_) | Self::NotFinite(_) => true,
            Self::Invalid(_)
            | Self::Unfit(_)
            | Self::Memory(_)
            | Self::Encoding(_)
            | Self::Late { .. }
            | Self::Unknown(_)
            | Self::NotWholeImages(_)
            | Self::Refused(_)
            | Self::Unauthenticated
            | Self::Audit(_)
            | Self::Control(_)
            | Self::Draining
            | Self::TooLong(_)
            | Self::Unreadable(_)
            | Self::Diverged(_) => false,
        }
    }

    /// Why a request was refused without inference, if it was.
    fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Invalid(_)
            | Self::Unfit(_)
            | Self::NotWholeImages(_)
            | Self::Encoding(_)
            | Self::TooLong(_)
            | Self::Unreadable(_) => Some("invalid"),
            Self::Memory(_) => Some("memory"),
            Self::Late { .. } => Some("late"),
            Self::Unknown(_) => Some("unknown_model"),
            Self::Refused(Refusal::Full { work, .. } | Refusal::Queue { work, .. }) => {
                Some(match work {
                    Work::Chains => "overloaded",
                    Work::Samples => "overloaded_samples",
                })
            }
            Self::Refused(Refusal::Deadline { .. } | Refusal::Unreachable { .. }) => {
                Some("deadline")
            }
            Self::Unauthenticated => Some("unauthenticated"),
            Self::Audit(_) => Some("audit"),
            Self::Control(ControlError::NotAdmin(_)) => Some("unauthenticated"),
            Self::Control(_) => Some("control"),
            Self::Draining => Some("draining"),
            Self::Scheduler(_)
            | Self::Diverged(_)
            | Self::NotFinite(_)
            | Self::Sampling(_)
            | Self::Render(_)
            | Self::Panicked => None,
        }
    }
}

impl From<SamplingError> for ServiceError {
    fn from(error: SamplingError) -> Self {
        match error {
            SamplingError::Refused(refusal) => Self::Refused(refusal),
            SamplingError::Panicked => Self::Panicked,
            other => Self::Sampling(other),
        }
    }
}

impl From<Violation> for ServiceError {
    fn from(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
}

impl From<RateError> for ServiceError {
    fn from(error: RateError) -> Self {
        Violation::new("false_alarm_rate", error.to_string()).into()
    }
}

impl From<Unfit> for ServiceError {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Malformed(reason) => Self::Unreadable(reason.to_owned()),
            unfit => Self::Unfit(unfit),
        }
    }
}

impl From<Unknown> for ServiceError {
    fn from(mut unknown: Unknown) -> Self {
        if let Unknown::Name { name, .. }
        | Unknown::Version { name, .. }
        | Unknown::OnlyShadows { name, .. } = &mut unknown
        {
            *name = cut(name).into_owned();
        }
        Self::Unknown(unknown)
    }
}
