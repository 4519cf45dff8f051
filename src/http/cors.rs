//! Which pages of other origins may use the server in a browser.

use axum::http::Method;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use tower_http::cors::{AllowOrigin, CorsLayer};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// What clients of gRPC-web in a browser send.
const GRPC_WEB: HeaderName = HeaderName::from_static("x-grpc-web");
const USER_AGENT: HeaderName = HeaderName::from_static("x-user-agent");

/// Allows REST to the pages of the origins.
pub(super) fn layer(origins: &[String]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(allowed(origins))
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            REQUEST_ID,
            TIMEOUT,
            JSON_LENGTH,
        ])
        .expose_headers([REQUEST_ID, RETRY_AFTER, JSON_LENGTH])
}

/// Allows gRPC-web to the pages of the origins.
pub fn grpc_web_layer(origins: &[String]) -> CorsLayer {
    CorsLayer::new()
        .allow_origin(allowed(origins))
        .allow_methods([Method::POST])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            REQUEST_ID,
            GRPC_TIMEOUT,
            GRPC_WEB,
            USER_AGENT,
        ])
        .expose_headers([REQUEST_ID, GRPC_STATUS, GRPC_MESSAGE, GRPC_DETAILS])
}

/// The origins; `*` is all of them. Tokens are no cookies: a page needs to have one.
fn allowed(origins: &[String]) -> AllowOrigin {
    if origins.iter().any(|origin| origin == "*") {
        return AllowOrigin::any();
    }
    let origins = origins.iter().filter_map(|origin| origin.parse().ok());
    AllowOrigin::list(origins.collect::<Vec<HeaderValue>>())
}
