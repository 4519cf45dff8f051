//! HTTP beside gRPC: `/metrics` for Prometheus, `/healthz` (ready) and `/livez` (alive) for probes,
//! `/models` for people.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::models::Models;
use crate::phase::Phases;
use crate::telemetry::Metrics;
use crate::transport::Tokens;

/// As many probes and scrapers there may be; others wait.
pub const MAX_CONNECTIONS: usize = 256;
/// How long one may take: less than the patience of a probe that waits for its turn.
const CONNECTION_TIME: Duration = Duration::from_secs(3);
/// After the system had no file descriptor left, for some to close.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// What replies are made of.
#[derive(Clone)]
pub struct HttpState {
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What `/models` lists; without one `/healthz` is 503.
    pub models: Arc<Models>,
    /// `/healthz` is 503 once the server stops.
    pub phases: Phases,
    /// A request that carries none of them gets 401.
    pub tokens: Option<Tokens>,
}

/// Answers until the task is dropped.
pub async fn serve(listener: TcpListener, state: HttpState) {
    let router = router(state);
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = serve_connection(stream, router.clone());
                tokio::spawn(async move {
                    let _permit = permit;
                    connection.await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// Serves one request: a connection that is kept open keeps a permit.
async fn serve_connection(stream: TcpStream, router: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    match tokio::time::timeout(CONNECTION_TIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection broke"),
        Err(_) => tracing::debug!("an HTTP connection took too long"),
    }
}

fn router(state: HttpState) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/livez", get("alive\n"))
        .route("/models", get(models))
        .fallback((
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz, /livez and /models\n",
        ))
        .layer(middleware::from_fn_with_state(state.clone(), check))
        .with_state(state)
}

/// What a request for any path must be.
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
    (code, format!("{status}\n{}", refused.collect::<String>()))
}

async fn models(State(state): State<HttpState>) -> impl IntoResponse {
    let catalog = state.models.catalog();
    let models = catalog.iter().map(|model| {
        json!({
            "name": model.manifest.name,
            "version": model.manifest.version,
            "device": model.device.to_string(),
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
