//! Replies that no service made, or made without a reason.

use hyper::Response;
use tonic::body::Body;
use tonic::{Code, Status};

use super::unimplemented;
use crate::service::ServiceError;
use crate::telemetry::Metrics;

/// Replaces tonic's reply to a message that it could not read with INVALID_ARGUMENT, and gives the
/// reply to an unknown method a message.
pub(super) fn with_reason(
    response: Response<Body>,
    path: &str,
    metrics: &Metrics,
) -> Response<Body> {
    let status = Status::from_header_map(response.headers());
    match status.as_ref().and_then(ServiceError::of_message) {
        None if status.is_some_and(|status| {
            status.code() == Code::Unimplemented && status.message().is_empty()
        }) =>
        {
            Status::unimplemented(unimplemented::message(path)).into_http()
        }
        Some(error) => error.into_status(metrics).into_http(),
        None => response,
    }
}
