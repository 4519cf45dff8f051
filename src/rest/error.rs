use axum::http::Method;
use tonic::Code;

use crate::models::Unknown;
use crate::request::Violation;
use crate::service::{Cause, Report, ServiceError};
use crate::telemetry::Metrics;

/// Why a request over HTTP has no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestError {
    /// As of a request by gRPC.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Nothing is there.
    #[error("nothing is at this path; the paths are in docs/rest.md and at /openapi.json")]
    NoRoute,
    /// Something is there, and is asked for in another way.
    #[error("expected the method {expected}, got {got}")]
    Method {
        /// The method of the path.
        expected: Method,
        /// The method of the request, cut.
        got: String,
    },
    /// The server has a certificate, and the request came without TLS.
    #[error("expected https, got http: without TLS the server answers health and metrics only")]
    NoTls,
}

impl RestError {
    /// Whether the client has had its time to send the body.
    pub(super) fn is_late(&self) -> bool {
        matches!(self, Self::Service(ServiceError::Late { .. }))
    }

    /// Counts what was refused, logs what is the server's fault.
    pub(super) fn observe(&self, metrics: &Metrics) {
        match self {
            Self::Service(error) => error.observe(metrics),
            Self::NoRoute | Self::Method { .. } | Self::NoTls => {
                metrics.reject("invalid");
                tracing::debug!(error = %self, "request refused");
            }
        }
    }
}

impl From<RestError> for Report {
    fn from(error: RestError) -> Self {
        let (code, reason) = match error {
            RestError::Service(error) => return error.into(),
            RestError::NoRoute => (Code::Unimplemented, "NO_ROUTE"),
            RestError::Method { .. } => (Code::Unimplemented, "METHOD_NOT_ALLOWED"),
            RestError::NoTls => (Code::PermissionDenied, "TLS_REQUIRED"),
        };
        Self {
            code,
            message: error.to_string(),
            cause: Cause::Reason(reason),
            retry_after: None,
        }
    }
}

impl From<Violation> for RestError {
    fn from(violation: Violation) -> Self {
        Self::Service(violation.into())
    }
}

impl From<Unknown> for RestError {
    fn from(unknown: Unknown) -> Self {
        Self::Service(unknown.into())
    }
}
