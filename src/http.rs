//! `/metrics` for Prometheus and `/healthz` for probes that speak no gRPC.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::telemetry::Metrics;

type Reply = Response<Full<Bytes>>;

/// Answers until the task is dropped. `/healthz` is 200 as long as `serving` is true, else 503.
pub async fn serve(listener: TcpListener, metrics: Metrics, serving: Arc<AtomicBool>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                // Out of file handles, most likely: let some close.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let (metrics, serving) = (metrics.clone(), Arc::clone(&serving));
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let reply = reply(&request, &metrics, serving.load(Ordering::Relaxed));
                async { Ok::<_, Infallible>(reply) }
            });
            // The timer closes connections that never send a request.
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an HTTP connection broke");
            }
        });
    }
}

fn reply(request: &Request<Incoming>, metrics: &Metrics, serving: bool) -> Reply {
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
        "/healthz" if serving => text(StatusCode::OK, "serving\n"),
        "/healthz" => text(StatusCode::SERVICE_UNAVAILABLE, "not serving\n"),
        _ => text(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n"),
    }
}

fn text(status: StatusCode, body: &'static str) -> Reply {
    let mut reply = Response::new(Full::from(body));
    *reply.status_mut() = status;
    reply
}
