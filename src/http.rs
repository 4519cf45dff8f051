//! HTTP for what speaks no gRPC: `/metrics` for Prometheus, `/healthz` (ready) and `/livez` (alive)
//! for probes, `/models` for people.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::models::{Catalog, Models};
use crate::telemetry::Metrics;
use crate::transport::Tokens;

/// As many probes and scrapers there may be; others wait.
pub const MAX_CONNECTIONS: usize = 256;
/// How long one may take: less than the patience of a probe that waits for its place.
const CONNECTION_TIME: Duration = Duration::from_secs(3);

type Reply = Response<Full<Bytes>>;

/// Answers until the task is dropped. `/healthz` is 200 as long as `serving` is true and there is a
/// model, else 503. With `tokens`, a request that carries none of them gets 401.
pub async fn serve(
    listener: TcpListener,
    metrics: Metrics,
    models: Arc<Models>,
    serving: Arc<AtomicBool>,
    tokens: Option<Tokens>,
) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                // Out of file handles, most likely: let some close.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (metrics, serving) = (metrics.clone(), Arc::clone(&serving));
        let (models, tokens) = (Arc::clone(&models), tokens.clone());
        tokio::spawn(async move {
            let _place = place;
            let answer = service_fn(move |request: Request<Incoming>| {
                let serving = serving.load(Ordering::Relaxed);
                let reply = match &tokens {
                    Some(tokens) if !tokens.admit(request.headers()) => {
                        text(StatusCode::UNAUTHORIZED, "a bearer token is needed\n")
                    }
                    _ => reply(&request, &metrics, &models.catalog(), serving),
                };
                async { Ok::<_, Infallible>(reply) }
            });
            // One request each: a connection that is kept keeps a place.
            let connection = http1::Builder::new()
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            match tokio::time::timeout(CONNECTION_TIME, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection broke"),
                Err(_) => tracing::debug!("an HTTP connection took too long"),
            }
        });
    }
}

fn reply(
    request: &Request<Incoming>,
    metrics: &Metrics,
    catalog: &Catalog,
    serving: bool,
) -> Reply {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
    }
    match request.uri().path() {
        "/metrics" => match metrics.text() {
            Ok((body, content_type)) => {
                let mut reply = Response::new(Full::from(body));
                if let Ok(content_type) = HeaderValue::from_str(&content_type) {
                    reply.headers_mut().insert(CONTENT_TYPE, content_type);
                }
                reply
            }
            Err(error) => {
                tracing::error!(%error, "metrics could not be written");
                text(StatusCode::INTERNAL_SERVER_ERROR, "metrics failed\n")
            }
        },
        "/healthz" if !serving => text(StatusCode::SERVICE_UNAVAILABLE, "not serving\n"),
        "/healthz" => {
            let (code, state) = if catalog.is_empty() {
                (StatusCode::SERVICE_UNAVAILABLE, "no model is served")
            } else {
                (StatusCode::OK, "serving")
            };
            let refused = catalog.refused().iter();
            let refused = refused.map(|bundle| format!("refused: {}\n", bundle.reason));
            text(code, format!("{state}\n{}", refused.collect::<String>()))
        }
        "/livez" => text(StatusCode::OK, "alive\n"),
        "/models" => {
            let mut reply = text(StatusCode::OK, models_json(catalog));
            let json = HeaderValue::from_static("application/json");
            reply.headers_mut().insert(CONTENT_TYPE, json);
            reply
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz, /livez and /models\n",
        ),
    }
}

fn models_json(catalog: &Catalog) -> String {
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
    format!("{}\n", json!({ "models": models, "refused": refused }))
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply
}
