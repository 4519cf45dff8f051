//! Which pages of other origins may use REST in a browser.

use axum::http::Method;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use tower_http::cors::{AllowOrigin, CorsLayer};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");
const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// Allows the origins; `*` is all of them. Tokens are no cookies: a page needs to have one.
pub(super) fn layer(origins: &[String]) -> CorsLayer {
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let origins = origins.iter().filter_map(|origin| origin.parse().ok());
        AllowOrigin::list(origins.collect::<Vec<HeaderValue>>())
    };
    CorsLayer::new()
        .allow_origin(origin)
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
