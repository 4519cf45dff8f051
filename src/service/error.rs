//! Errors of requests, and the one mapping of them to gRPC statuses.

use std::collections::HashMap;
use std::time::Duration;

use image::ImageError;
use lfbm_runtime::RuntimeError;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::admission::{Refusal, Work};
use crate::memory::Exhausted;
use crate::models::Unknown;
use crate::request::{Violation, cut, shorten};
use crate::sampling::SamplingError;
use crate::scheduler::SchedulerError;
use crate::score::Diverged;
use crate::telemetry::Metrics;
use crate::wire::{Encoding, Unfit, UnknownEncoding};

const GRPC_ACCEPT_ENCODING: &str = "grpc-accept-encoding";
const DOMAIN: &str = "lfbm.v1";
/// A status and its details fit the metadata that every client takes.
const MAX_MESSAGE_BYTES: usize = 800;
const MAX_VIOLATIONS_BYTES: usize = 900;
const MAX_DESCRIPTION_BYTES: usize = 400;
/// Memory is given back as requests are answered.
const MEMORY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Fields are wrong.
    #[error("{}", text(.0))]
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
        "expected the whole message within {seconds} s, got a part of it; send it faster, or raise \
         --message-timeout-s"
    )]
    Late {
        /// How long a message may take.
        seconds: u64,
    },
    /// No model fits.
    #[error(transparent)]
    Unknown(Unknown),
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
    #[error("expected the metadata `authorization: Bearer TOKEN` with a token of this server")]
    Unauthenticated,
    /// The prior could not be sampled.
    #[error(transparent)]
    Sampling(SamplingError),
    /// An image of the reply could not be encoded.
    #[error("the reply could not be encoded: {0}")]
    Render(#[from] ImageError),
    /// The server stops.
    #[error("the server stops; send the rest of the stream again")]
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

    /// The status that the client gets; counts what was refused, logs what is the server's fault.
    pub fn into_status(self, metrics: &Metrics) -> Status {
        match self.refusal() {
            Some(reason) => {
                metrics.reject(reason);
                tracing::debug!(error = %self, "request refused");
            }
            None if self.is_fault() => tracing::error!(error = %self, "request failed"),
            None => tracing::debug!(error = %self, "request has no answer"),
        }
        self.into()
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
            | Self::Refused(_)
            | Self::Unauthenticated
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
        if let Unknown::Name { name, .. } | Unknown::Version { name, .. } = &mut unknown {
            *name = cut(name).into_owned();
        }
        Self::Unknown(unknown)
    }
}

/// As many violations as fit a status.
fn shown(violations: &[Violation]) -> &[Violation] {
    let mut bytes = 0;
    let fits = |violation: &&Violation| {
        bytes += violation.field.len() + violation.description.len().min(MAX_DESCRIPTION_BYTES);
        bytes <= MAX_VIOLATIONS_BYTES
    };
    let count = violations.iter().take_while(fits).count();
    &violations[..count]
}

/// How many violations are left out, as a status says it.
fn left_out(violations: &[Violation]) -> Option<String> {
    match violations.len() - shown(violations).len() {
        0 => None,
        more => Some(format!("and {more} more")),
    }
}

fn text(violations: &[Violation]) -> String {
    let more = left_out(violations);
    let shown = shown(violations).iter().map(|violation| {
        let description = shorten(&violation.description, MAX_DESCRIPTION_BYTES);
        format!("{}: {description}", violation.field)
    });
    let shown = shown.collect::<Vec<_>>().join("; ");
    match more {
        None => shown,
        Some(more) => format!("{}; {more}", shorten(&shown, MAX_MESSAGE_BYTES - 40)),
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let message = shorten(&error.to_string(), MAX_MESSAGE_BYTES).into_owned();
        let info = |reason: &str| ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
        let (code, details) = match error {
            ServiceError::Invalid(violations) => {
                let shown = shown(&violations).iter().map(|violation| {
                    let description = shorten(&violation.description, MAX_DESCRIPTION_BYTES);
                    FieldViolation::new(violation.field, description)
                });
                let more = left_out(&violations).map(|more| FieldViolation::new("", more));
                (
                    Code::InvalidArgument,
                    ErrorDetails::with_bad_request(shown.chain(more).collect::<Vec<_>>()),
                )
            }
            ServiceError::Unfit(
                Unfit::Entries { field, .. }
                | Unfit::Values { field, .. }
                | Unfit::Text { field, .. },
            ) => (
                Code::InvalidArgument,
                ErrorDetails::with_bad_request_violation(field, &message),
            ),
            ServiceError::Unfit(Unfit::Malformed(_)) => {
                (Code::InvalidArgument, info("MESSAGE_UNREADABLE"))
            }
            ServiceError::Memory(_) => {
                let mut details = info("MEMORY_IN_USE");
                details.set_retry_info(Some(MEMORY_RETRY_AFTER));
                (Code::ResourceExhausted, details)
            }
            ServiceError::Encoding(_) => {
                let mut status = Status::with_error_details(
                    Code::Unimplemented,
                    message,
                    info("ENCODING_UNKNOWN"),
                );
                let accepted = MetadataValue::from_static(Encoding::ACCEPTED);
                status.metadata_mut().insert(GRPC_ACCEPT_ENCODING, accepted);
                return status;
            }
            ServiceError::Late { .. } => (Code::DeadlineExceeded, info("MESSAGE_LATE")),
            ServiceError::NotFinite(_) => (Code::Internal, info("NOT_FINITE")),
            ServiceError::Unknown(Unknown::Ambiguous(_)) => (
                Code::InvalidArgument,
                ErrorDetails::with_bad_request_violation("model", &message),
            ),
            ServiceError::Unknown(Unknown::Nothing) => (Code::Unavailable, info("NO_MODEL")),
            ServiceError::Unknown(Unknown::Name { name, .. } | Unknown::Version { name, .. }) => (
                Code::NotFound,
                ErrorDetails::with_resource_info("lfbm.v1.Model", name, "", &message),
            ),
            ServiceError::Refused(Refusal::Unreachable { .. }) => {
                (Code::DeadlineExceeded, info("DEADLINE_UNREACHABLE"))
            }
            ServiceError::Refused(
                refusal @ (Refusal::Full { retry_after, .. }
                | Refusal::Queue { retry_after, .. }
                | Refusal::Deadline { retry_after, .. }),
            ) => {
                let mut details = info(match refusal {
                    Refusal::Full {
                        work: Work::Chains, ..
                    } => "TOO_MANY_CHAINS",
                    Refusal::Full {
                        work: Work::Samples,
                        ..
                    } => "TOO_MANY_SAMPLES",
                    Refusal::Queue { .. } => "QUEUE_TOO_LONG",
                    _ => "DEADLINE_UNREACHABLE",
                });
                details.set_retry_info(Some(retry_after));
                (Code::ResourceExhausted, details)
            }
            ServiceError::Scheduler(SchedulerError::DeadlineExceeded) => {
                (Code::DeadlineExceeded, info("DEADLINE_EXCEEDED"))
            }
            ServiceError::Scheduler(SchedulerError::Stopped) => {
                (Code::Unavailable, info("SCHEDULER_STOPPED"))
            }
            ServiceError::Scheduler(SchedulerError::Panicked) => {
                (Code::Internal, info("STEP_PANICKED"))
            }
            ServiceError::Scheduler(SchedulerError::Runtime(_)) => {
                (Code::Internal, info("INFERENCE_FAILED"))
            }
            ServiceError::Diverged(_) => (Code::FailedPrecondition, info("CHAINS_DIVERGED")),
            ServiceError::Unauthenticated => (Code::Unauthenticated, info("TOKEN_REQUIRED")),
            ServiceError::Draining => (Code::Unavailable, info("DRAINING")),
            ServiceError::Sampling(SamplingError::DeadlineExceeded) => {
                (Code::DeadlineExceeded, info("DEADLINE_EXCEEDED"))
            }
            ServiceError::Sampling(SamplingError::Diverged) => {
                (Code::FailedPrecondition, info("SAMPLES_DIVERGED"))
            }
            ServiceError::Sampling(SamplingError::Runtime(RuntimeError::NoPriorGraph)) => {
                (Code::FailedPrecondition, info("NO_PRIOR_GRAPH"))
            }
            ServiceError::Sampling(_) => (Code::Internal, info("SAMPLING_FAILED")),
            ServiceError::Render(_) => (Code::Internal, info("RENDERING_FAILED")),
            ServiceError::TooLong(_) => (Code::InvalidArgument, info("MESSAGE_TOO_LONG")),
            ServiceError::Unreadable(_) => (Code::InvalidArgument, info("MESSAGE_UNREADABLE")),
            ServiceError::Panicked => (Code::Internal, info("PANICKED")),
        };
        Status::with_error_details(code, message, details)
    }
}
