//! HTTP beside gRPC: `/metrics` for Prometheus, `/healthz` (ready) and `/livez` (alive) for probes,
//! `/models` for programs, the console for people, and [`crate::rest`] for all other paths.

mod cors;
mod listener;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use crate::console;
use crate::models::Models;
use crate::phase::Phases;
use crate::rest::Rest;
use crate::telemetry::Metrics;
use crate::transport::Tokens;

pub use self::cors::grpc_web_layer;
pub use self::listener::{Listener, MAX_CONNECTIONS};

/// What replies are made of.
#[derive(Clone)]
pub struct HttpState {
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What `/models` lists; without one `/healthz` is 503.
    pub models: Arc<Models>,
    /// `/healthz` is 503 once the server stops.
    pub phases: Phases,
    /// A request for one of these that carries none of them gets 401; [`Rest`] has its own.
    pub tokens: Option<Tokens>,
    /// Origins whose pages may use the server in a browser.
    pub cors_origins: Vec<String>,
    /// What answers requests for all other paths.
    pub rest: Rest,
}

/// Answers by `state`; without `is_secure` nothing but health and metrics.
fn router(state: HttpState, is_secure: bool) -> Router {
    let rest = state.rest.clone();
    let others = move |request| rest.clone().answer(request, is_secure);
    let mut router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/livez", get("alive\n"))
        .route("/models", get(models))
        .route_layer(middleware::from_fn_with_state(state.clone(), check))
        .fallback(others);
    if is_secure {
        router = router.merge(console::router());
    }
    let router = router.with_state(state.clone());
    if state.cors_origins.is_empty() {
        return router;
    }
    router.layer(cors::layer(&state.cors_origins))
}

/// What a request for health or metrics must be.
async fn check(State(state): State<HttpState>, request: Request, next: Next) -> Response {
    if let Some(tokens) = &state.tokens
        && !tokens.admit(request.headers())
    {
        return (StatusCode::UNAUTHORIZED, "a bearer token is needed\n").into_response();
    }
    match *request.method() {
        Method::GET | Method::HEAD => next.run(request).await,
        _ => (StatusCode::METHOD_NOT_ALLOWED, "only GET\n").into_response(),
    }
}

async fn metrics(State(state): State<HttpState>) -> Response {
    match state.metrics.text() {
        Ok((body, content_type)) => ([(CONTENT_TYPE, content_type)], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            (StatusCode::INTERNAL_SERVER_ERROR, "metrics failed\n").into_response()
        }
    }
}

async fn healthz(State(state): State<HttpState>) -> (StatusCode, String) {
    if !state.phases.is_serving() {
        return (StatusCode::SERVICE_UNAVAILABLE, "not serving\n".to_owned());
    }
    let catalog = state.models.catalog();
    let (code, status) = if catalog.is_empty() {
        (StatusCode::SERVICE_UNAVAILABLE, "no model is served")
    } else {
        (StatusCode::OK, "serving")
    };
    let refused = catalog.refused().iter();
    let refused = refused.map(|bundle| format!("refused: {}\n", bundle.reason));
    let missing = catalog.missing_shadows();
    let missing = missing.map(|shadow| {
        format!(
            "shadow version not served: {}:{}\n",
            shadow.model, shadow.version
        )
    });
    let rest: String = refused.chain(missing).collect();
    (code, format!("{status}\n{rest}"))
}

async fn models(State(state): State<HttpState>) -> impl IntoResponse {
    let catalog = state.models.catalog();
    let models = catalog.iter().map(|model| {
        json!({
            "name": model.manifest.name,
            "version": model.manifest.version,
            "device": model.devices.to_string(),
            "shadow": catalog.is_shadow(model),
        })
    });
    let refused = catalog
        .refused()
        .iter()
        .map(|refused| json!({ "bundle": refused.bundle, "reason": refused.reason }));
    let (models, refused): (Vec<_>, Vec<_>) = (models.collect(), refused.collect());
    let body = format!("{}\n", json!({ "models": models, "refused": refused }));
    ([(CONTENT_TYPE, "application/json")], body)
}
