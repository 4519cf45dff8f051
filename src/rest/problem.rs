//! Errors as problem details, RFC 9457.

use axum::body::Body;
use axum::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{Response, StatusCode};
use serde::Serialize;
use tonic::Code;

use super::error::RestError;
use crate::service::{Cause, Report, ServiceError};

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const BEARER: HeaderValue = HeaderValue::from_static("Bearer");

/// The body of a reply to a request without an answer.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    /// What the status says.
    title: &'a str,
    status: u16,
    /// One sentence.
    detail: &'a str,
    /// What is wrong, for programs; that of the gRPC status.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The fields that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem>,
    /// When to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// The id of the request, by which the log names it.
    request_id: &'a str,
    /// The detail again, where clients of the Open Inference Protocol look for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct FieldProblem {
    field: String,
    detail: String,
}

/// The reply to a request without an answer, and its class.
pub(super) fn reply(
    error: RestError,
    request_id: &str,
    open_inference: bool,
) -> (Response<Body>, Code) {
    let special = special(&error);
    let allowed = match &error {
        RestError::Method { expected, .. } => HeaderValue::from_str(expected.as_str()).ok(),
        _ => None,
    };
    let report = Report::from(error);
    let status = special.unwrap_or_else(|| of_code(report.code));
    let (reason, errors) = match report.cause {
        Cause::Reason(reason) => (Some(reason), Vec::new()),
        Cause::Model(_) => (None, vec![problem("model", report.message.clone())]),
        Cause::Fields(fields) => {
            let fields = fields.into_iter();
            let fields = fields.map(|wrong| problem(&wrong.field, wrong.description));
            (None, fields.collect())
        }
    };
    let problem = Problem {
        title: status.canonical_reason().unwrap_or_default(),
        status: status.as_u16(),
        detail: &report.message,
        reason,
        errors,
        retry_after_ms: report
            .retry_after
            .map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        request_id,
        error: open_inference.then_some(report.message.as_str()),
    };
    // Texts and numbers can always be written.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, PROBLEM_JSON);
    if let Some(allowed) = allowed {
        headers.insert(ALLOW, allowed);
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(WWW_AUTHENTICATE, BEARER);
    }
    // Whole seconds, one at least: a client that rounds down would come too early.
    let retry_after = report
        .retry_after
        .map(|time| time.as_millis().div_ceil(1000));
    let retry_after = match retry_after {
        None if status == StatusCode::SERVICE_UNAVAILABLE => Some(1),
        other => other,
    };
    if let Some(seconds) = retry_after.and_then(|seconds| u64::try_from(seconds).ok()) {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    (response, report.code)
}

fn problem(field: &str, detail: String) -> FieldProblem {
    FieldProblem {
        field: name(field),
        detail,
    }
}

/// The name that a field has in JSON and in a query; fields are named by the paths of `lfbm.v1`.
fn name(field: &str) -> String {
    if let Some(parameter) = field.strip_prefix("inference.") {
        return format!("parameters.{parameter}");
    }
    match field {
        "image.encoded" => "image".to_owned(),
        "priority" | "false_alarm_rate" | "map" | "form" | "count" => format!("parameters.{field}"),
        other => other.replacen("image.tensor.", "image.", 1),
    }
}

/// The status of an error for which HTTP has one of its own.
fn special(error: &RestError) -> Option<StatusCode> {
    match error {
        RestError::NoRoute => Some(StatusCode::NOT_FOUND),
        RestError::Method { .. } => Some(StatusCode::METHOD_NOT_ALLOWED),
        RestError::Service(ServiceError::TooLong(_)) => Some(StatusCode::PAYLOAD_TOO_LARGE),
        RestError::Service(ServiceError::Encoding(_)) => Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
        RestError::Service(ServiceError::Late { .. }) => Some(StatusCode::REQUEST_TIMEOUT),
        RestError::Service(_) | RestError::NoTls => None,
    }
}

/// The status that Google's APIs give a code of gRPC.
fn of_code(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
