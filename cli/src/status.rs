//! Errors of requests in words, and retries.

use std::error::Error;
use std::iter::successors;
use std::time::Duration;

use rand::RngExt;
use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(10);
const REQUEST_ID: &str = "x-request-id";

/// Why the client ended a request.
enum Local {
    TimedOut,
    Closed,
}

/// What a request ended with. Tonic calls a deadline that passed on this side a cancellation, and a
/// connection that was closed that, too, or unknown, or an error of HTTP/2.
pub(crate) fn code(status: &Status) -> Code {
    match local(status) {
        Some(Local::TimedOut) => Code::DeadlineExceeded,
        Some(Local::Closed) => Code::Unavailable,
        None => status.code(),
    }
}

fn local(status: &Status) -> Option<Local> {
    if causes(status).any(|cause| cause.is::<TimeoutExpired>()) {
        return Some(Local::TimedOut);
    }
    // A status without a source came from the server.
    let closed = status.source().is_some()
        && matches!(
            status.code(),
            Code::Cancelled | Code::Unknown | Code::Internal
        );
    closed.then_some(Local::Closed)
}

/// The error of a request that the client gives up.
pub(crate) fn timed_out() -> Status {
    Status::from_error(Box::new(TimeoutExpired(())))
}

/// The name of a code in gRPC's specification.
pub(crate) fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// An error in one line: code, fields or message, when to try again, and the id by which the
/// server's log knows the request.
pub(crate) fn describe(status: &Status) -> String {
    let code = code(status);
    let details = status.get_error_details();
    let violations = details.bad_request().map(|bad| &bad.field_violations[..]);
    let violations: Vec<_> = violations
        .unwrap_or_default()
        .iter()
        .map(|violation| format!("{}: {}", violation.field, violation.description))
        .collect();
    let cause = root_cause(status);
    let what = match (local(status), status.code(), &violations[..]) {
        (Some(Local::TimedOut), ..) => "no answer within --timeout-s".to_owned(),
        (Some(Local::Closed), ..) => format!(
            "the connection was closed ({cause}); if it always is, --server may name the port for HTTP, or \
             the server may want https:// there, or a client certificate (--tls-cert)"
        ),
        (_, Code::Unimplemented, _) => "the server does not know this call".to_owned(),
        // Messages of the client's own transport say little by themselves.
        (_, _, []) if status.source().is_some() => {
            let text = format!("{}: {cause}", status.message());
            match advice(&cause.to_string()) {
                Some(advice) => format!("{text}; {advice}"),
                None => text,
            }
        }
        (_, Code::Unauthenticated, []) => format!("{} (--token-file)", status.message()),
        (_, _, []) => status.message().to_owned(),
        (_, _, violations) => violations.join("; "),
    };
    let mut text = format!("{}: {what}", code_name(code));
    if let Some(delay) = retry_delay(status) {
        text += &format!("; try again in {:.3} s", delay.as_secs_f64());
    }
    let id = status.metadata().get(REQUEST_ID);
    if let Some(id) = id.and_then(|id| id.to_str().ok()) {
        text += &format!(" (request {id})");
    }
    text
}

/// What to do about an error of TLS, by rustls's words for it.
fn advice(cause: &str) -> Option<&'static str> {
    if cause.contains("InvalidContentType") {
        Some("the server does not speak TLS there: say http:// in --server")
    } else if cause.contains("invalid peer certificate") {
        Some("name the authority that signed the server's certificate with --tls-ca")
    } else {
        None
    }
}

/// The root cause of an error; the outer errors of transports add nothing.
pub(crate) fn root_cause(error: &dyn Error) -> &dyn Error {
    causes(error).last().unwrap_or(error)
}

fn causes<'a>(error: &'a dyn Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(error.source(), |&cause| cause.source())
}

/// An error for the user.
pub(crate) fn failure(status: Status) -> anyhow::Error {
    anyhow::Error::msg(describe(&status))
}

/// Retries until the reply is final, or `retries` are used up.
pub(crate) async fn retry<T>(
    retries: u32,
    call: impl AsyncFn() -> Result<T, Status>,
) -> Result<T, Status> {
    let mut attempt = 0;
    loop {
        match call().await {
            Err(status) if attempt < retries && is_transient(&status) => {
                tokio::time::sleep(delay(&status, attempt)).await;
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn is_transient(status: &Status) -> bool {
    matches!(code(status), Code::Unavailable | Code::ResourceExhausted)
}

/// The server's RetryInfo, and at least a random part of an exponential back-off.
pub(crate) fn delay(status: &Status, attempt: u32) -> Duration {
    let back_off = FIRST_BACK_OFF.saturating_mul(2_u32.saturating_pow(attempt));
    let back_off = back_off.min(LONGEST_BACK_OFF);
    let back_off = back_off.mul_f64(rand::rng().random_range(0.5..1.0));
    retry_delay(status).unwrap_or_default().max(back_off)
}

fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}
