//! What is said of an error, whatever the protocol.

use std::time::Duration;

use lfbm_runtime::RuntimeError;
use tonic::Code;

use super::{ControlError, ServiceError};
use crate::admission::{Refusal, Work};
use crate::models::Unknown;
use crate::request::{Violation, shorten};
use crate::sampling::SamplingError;
use crate::scheduler::SchedulerError;
use crate::wire::Unfit;

/// A status and its details fit the metadata that every client takes.
const MAX_MESSAGE_BYTES: usize = 800;
const MAX_VIOLATIONS_BYTES: usize = 900;
const MAX_DESCRIPTION_BYTES: usize = 400;
/// Memory is given back as requests are answered.
const MEMORY_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The log tries to write again in less.
const AUDIT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Loading takes seconds.
const CONTROL_RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a client is told of an error.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Report {
    /// The class of the error.
    pub(crate) code: Code,
    /// One sentence.
    pub(crate) message: String,
    /// What is wrong, for programs to compare with.
    pub(crate) cause: Cause,
    /// When to try again.
    pub(crate) retry_after: Option<Duration>,
}

/// What is wrong, for programs to compare with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cause {
    /// These fields of the request.
    Fields(Vec<FieldError>),
    /// There is no model of that name.
    Model(String),
    /// What the constant says.
    Reason(&'static str),
}

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldError {
    /// Its path in the request; empty where further fields are left out.
    pub(crate) field: String,
    /// What was expected and what came.
    pub(crate) description: String,
}

impl FieldError {
    fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            description: description.into(),
        }
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

/// Violations as one sentence.
pub(super) fn text(violations: &[Violation]) -> String {
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

fn fields(violations: &[Violation]) -> Cause {
    let shown = shown(violations).iter().map(|violation| {
        let description = shorten(&violation.description, MAX_DESCRIPTION_BYTES);
        FieldError::new(violation.field, description)
    });
    let more = left_out(violations).map(|more| FieldError::new("", more));
    Cause::Fields(shown.chain(more).collect())
}

impl From<ServiceError> for Report {
    fn from(error: ServiceError) -> Self {
        Self::from(&error)
    }
}

impl From<&ServiceError> for Report {
    fn from(error: &ServiceError) -> Self {
        use Cause::Reason;
        let message = shorten(&error.to_string(), MAX_MESSAGE_BYTES).into_owned();
        let field = |field: &str| Cause::Fields(vec![FieldError::new(field, message.as_str())]);
        let mut retry_after = None;
        let (code, cause) = match error {
            ServiceError::Invalid(violations) => (Code::InvalidArgument, fields(violations)),
            ServiceError::Unfit(
                Unfit::Entries { field: name, .. }
                | Unfit::Values { field: name, .. }
                | Unfit::Text { field: name, .. },
            ) => (Code::InvalidArgument, field(name)),
            ServiceError::Unfit(Unfit::Malformed(_)) => {
                (Code::InvalidArgument, Reason("MESSAGE_UNREADABLE"))
            }
            ServiceError::Memory(_) => {
                retry_after = Some(MEMORY_RETRY_AFTER);
                (Code::ResourceExhausted, Reason("MEMORY_IN_USE"))
            }
            ServiceError::Encoding(_) => (Code::Unimplemented, Reason("ENCODING_UNKNOWN")),
            ServiceError::Late { .. } => (Code::DeadlineExceeded, Reason("MESSAGE_LATE")),
            ServiceError::NotFinite(_) => (Code::Internal, Reason("NOT_FINITE")),
            ServiceError::Unknown(Unknown::Ambiguous(_)) => (Code::InvalidArgument, field("model")),
            ServiceError::Unknown(Unknown::Nothing) => (Code::Unavailable, Reason("NO_MODEL")),
            ServiceError::Unknown(
                Unknown::Name { name, .. }
                | Unknown::Version { name, .. }
                | Unknown::OnlyShadows { name, .. },
            ) => (Code::NotFound, Cause::Model(name.clone())),
            ServiceError::Refused(refusal) => {
                let (code, reason, after) = refused(*refusal);
                retry_after = after;
                (code, Reason(reason))
            }
            ServiceError::Scheduler(SchedulerError::DeadlineExceeded)
            | ServiceError::Sampling(SamplingError::DeadlineExceeded) => {
                (Code::DeadlineExceeded, Reason("DEADLINE_EXCEEDED"))
            }
            ServiceError::Scheduler(SchedulerError::Stopped) => {
                (Code::Unavailable, Reason("SCHEDULER_STOPPED"))
            }
            ServiceError::Scheduler(SchedulerError::Panicked) => {
                (Code::Internal, Reason("STEP_PANICKED"))
            }
            ServiceError::Scheduler(SchedulerError::Runtime(_)) => {
                (Code::Internal, Reason("INFERENCE_FAILED"))
            }
            ServiceError::NotWholeImages(_) => {
                (Code::FailedPrecondition, Reason("NOT_WHOLE_IMAGES"))
            }
            ServiceError::Diverged(_) => (Code::FailedPrecondition, Reason("CHAINS_DIVERGED")),
            ServiceError::Unauthenticated => (Code::Unauthenticated, Reason("TOKEN_REQUIRED")),
            ServiceError::Audit(_) => {
                retry_after = Some(AUDIT_RETRY_AFTER);
                (Code::Unavailable, Reason("AUDIT_LOG_UNAVAILABLE"))
            }
            ServiceError::Control(error) => {
                if *error == ControlError::Busy {
                    retry_after = Some(CONTROL_RETRY_AFTER);
                }
                let (code, reason) = error.class();
                (code, Reason(reason))
            }
            ServiceError::Draining => (Code::Unavailable, Reason("DRAINING")),
            ServiceError::Sampling(SamplingError::Diverged) => {
                (Code::FailedPrecondition, Reason("SAMPLES_DIVERGED"))
            }
            ServiceError::Sampling(SamplingError::Runtime(RuntimeError::NoPriorGraph)) => {
                (Code::FailedPrecondition, Reason("NO_PRIOR_GRAPH"))
            }
            ServiceError::Sampling(_) => (Code::Internal, Reason("SAMPLING_FAILED")),
            ServiceError::Render(_) => (Code::Internal, Reason("RENDERING_FAILED")),
            ServiceError::TooLong(_) => (Code::InvalidArgument, Reason("MESSAGE_TOO_LONG")),
            ServiceError::Unreadable(_) => (Code::InvalidArgument, Reason("MESSAGE_UNREADABLE")),
            ServiceError::Panicked => (Code::Internal, Reason("PANICKED")),
        };
        Self {
            code,
            message,
            cause,
            retry_after,
        }
    }
}

/// The class of a refusal, its reason, and when to try again.
fn refused(refusal: Refusal) -> (Code, &'static str, Option<Duration>) {
    const DEADLINE: &str = "DEADLINE_UNREACHABLE";
    let (reason, retry_after) = match refusal {
        Refusal::Unreachable { .. } => return (Code::DeadlineExceeded, DEADLINE, None),
        Refusal::Full {
            work: Work::Chains,
            retry_after,
            ..
        } => ("TOO_MANY_CHAINS", retry_after),
        Refusal::Full {
            work: Work::Samples,
            retry_after,
            ..
        } => ("TOO_MANY_SAMPLES", retry_after),
        Refusal::Queue { retry_after, .. } => ("QUEUE_TOO_LONG", retry_after),
        Refusal::Deadline { retry_after, .. } => (DEADLINE, retry_after),
    };
    (Code::ResourceExhausted, reason, Some(retry_after))
}
