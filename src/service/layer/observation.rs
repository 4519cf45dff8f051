//! Counts and traces a request from its arrival to its end, which is the end of its reply's body.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Span;

use super::head;
use crate::service::ServiceError;
use crate::service::held::Held;
use crate::service::incoming::Refusal;
use crate::telemetry::Metrics;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// The name of the model that answers a request, once it is known; the service sets it and the
/// layer counts by it.
#[derive(Clone, Default)]
pub(crate) struct AnsweringModel(Arc<OnceLock<String>>);

impl AnsweringModel {
    /// Counts the request as the model's, unless it is another's already.
    pub(in crate::service) fn set(&self, name: &str) {
        self.0.get_or_init(|| name.to_owned());
    }
}

/// A request from its arrival to its end; one that is dropped before was given up by its client.
pub(crate) struct Observation {
    metrics: Metrics,
    method: String,
    pub(crate) model: AnsweringModel,
    pub(crate) span: Span,
    started: Instant,
    code: Code,
    /// Whether the client gave up before it had sent its whole request.
    pub(super) broken_off: Arc<AtomicBool>,
    /// Why the request was not read to its end.
    pub(super) refusal: Refusal,
    /// What its messages hold of the server's memory.
    pub(super) held: Held,
}

impl Observation {
    /// Starts with the arrival of a request of that method.
    pub(crate) fn start(metrics: &Metrics, method: &str, id: &HeaderValue) -> Self {
        let request_id = id.to_str().unwrap_or_default();
        Self {
            metrics: metrics.clone(),
            method: method.to_owned(),
            model: AnsweringModel::default(),
            span: tracing::info_span!("request", method, request_id),
            started: Instant::now(),
            code: Code::Cancelled,
            broken_off: Arc::default(),
            refusal: Refusal::default(),
            held: Held::default(),
        }
    }

    /// The same, whose messages hold memory there.
    pub(super) fn with_held(mut self, held: Held) -> Self {
        self.held = held;
        self
    }

    /// Ends with an answer of that code.
    pub(crate) fn end(mut self, code: Code) {
        self.code = code;
    }

    /// Waits for the status of a response, in its head or in its trailers.
    pub(super) fn follow(mut self, response: Response<Body>) -> Response<ObservedBody> {
        let ended = self.read(response.headers());
        response.map(|inner| ObservedBody {
            inner,
            observation: (!ended).then_some(self),
        })
    }

    fn read(&mut self, headers: &HeaderMap) -> bool {
        let status = headers.get(GRPC_STATUS);
        if let Some(status) = status {
            self.code = Code::from_bytes(status.as_bytes());
        }
        status.is_some()
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let model = self.model.0.get().map_or("", String::as_str);
        let code = if self.broken_off.load(Ordering::Relaxed) {
            Code::Cancelled
        } else {
            self.code
        };
        self.metrics
            .observe_request(&self.method, model, code, seconds);
        tracing::debug!(parent: &self.span, ?code, seconds, "request ended");
    }
}

/// The body of a response, which ends with the request's status.
pub struct ObservedBody {
    inner: Body,
    observation: Option<Observation>,
}

impl hyper::body::Body for ObservedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { inner, observation } = &mut *self;
        let span = observation
            .as_ref()
            .map(|observation| observation.span.clone());
        let _entered = span.as_ref().map(Span::enter);
        let mut polled = catch_unwind(AssertUnwindSafe(|| {
            Pin::new(&mut *inner).poll_frame(context)
        }))
        .unwrap_or_else(|_| {
            *inner = Body::empty();
            let mut trailers = HeaderMap::new();
            let added = Status::from(ServiceError::Panicked).add_header(&mut trailers);
            Poll::Ready(Some(added.map(|()| Frame::trailers(trailers))))
        });
        match &mut polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    let refused = observation.as_ref().and_then(|o| o.refusal.get());
                    if let Some(refused) = refused {
                        // The service may have taken it for an end like any other.
                        let _ = refused.add_header(trailers);
                    }
                    head::bound(trailers);
                }
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(mut ended) = observation.take()
                {
                    ended.read(trailers);
                }
            }
            Poll::Ready(Some(Err(status))) => {
                if let Some(mut ended) = observation.take() {
                    ended.code = status.code();
                }
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
