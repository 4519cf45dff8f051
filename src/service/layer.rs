//! What every request passes, whatever its service: it gets an id and a span, needs a token, is
//! counted when it ends, and a panic in it ends it alone. (Panics are counted and logged where all
//! threads' are: [`crate::telemetry::watch_panics`].)

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::FutureExt;
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::{Instrument, Span};

use super::head;
use super::held::Held;
use super::incoming::{IncomingBody, Intake, MessageLimits, Messages, Refusal};
use super::{ServiceError, unimplemented};
use crate::telemetry::{Metrics, continue_trace};
use crate::transport::Tokens;
use crate::wire::{Encoding, Schema};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 128;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const HEALTH: &str = "/grpc.health.v1.Health/";
pub(super) const OPEN_INFERENCE: &str = "/inference.GRPCInferenceService/";
/// The label of requests for methods that there are not; a client can invent any number of them.
const UNKNOWN_METHOD: &str = "unknown";

/// Puts [`Requests`] around a server's services.
#[derive(Clone)]
pub struct RequestLayer(Arc<Shared>);

struct Shared {
    metrics: Metrics,
    tokens: Option<Tokens>,
    open_health: bool,
    intake: Arc<Intake>,
}

impl RequestLayer {
    /// Counts in `metrics`; with `tokens`, admits only requests that carry one, health checks
    /// excepted if `open_health`. `descriptors` are encoded `FileDescriptorSet`s of the services.
    ///
    /// # Errors
    /// When descriptors cannot be decoded.
    pub fn new(
        metrics: Metrics,
        tokens: Option<Tokens>,
        open_health: bool,
        limits: MessageLimits,
        descriptors: &[&[u8]],
    ) -> Result<Self, prost::DecodeError> {
        Ok(Self(Arc::new(Shared {
            metrics,
            tokens,
            open_health,
            intake: Arc::new(Intake {
                schema: Arc::new(Schema::new(descriptors)?),
                limits,
            }),
        })))
    }
}

impl<S> Layer<S> for RequestLayer {
    type Service = Requests<S>;

    fn layer(&self, inner: S) -> Requests<S> {
        Requests {
            inner,
            shared: Arc::clone(&self.0),
        }
    }
}

/// A service behind [`RequestLayer`].
#[derive(Clone)]
pub struct Requests<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> Service<Request<Body>> for Requests<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<ObservedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let uri = request.uri().clone();
        let path = uri.path();
        let id = request_id(request.headers());
        let observation = Observation::start(&self.shared, path, &id);
        let authenticated = self.shared.authenticates(request.headers());
        // Whoever may not use the server has no say in what it records.
        if authenticated {
            continue_trace(&observation.span, request.headers());
        }
        let admitted = authenticated || (self.shared.open_health && is_probe(path));
        let method = self.shared.intake.schema.method(path);
        let streaming = method.is_some_and(|method| method.streaming);
        let messages = method.map(|method| {
            let encoding = match request.headers().get(GRPC_ENCODING) {
                None => Ok(None),
                Some(name) => Encoding::named(name.as_bytes()),
            };
            encoding.map(|encoding| {
                Messages::new(
                    Arc::clone(&self.shared.intake),
                    self.shared.metrics.clone(),
                    method,
                    encoding,
                    observation.held.clone(),
                    Arc::clone(&observation.refusal),
                )
            })
        });
        request.extensions_mut().insert(observation.model.clone());
        request.extensions_mut().insert(observation.held.clone());
        let answer = match messages.transpose() {
            _ if !admitted => Err(ServiceError::Unauthenticated),
            Err(unknown) => Err(ServiceError::Encoding(unknown)),
            Ok(messages) => {
                // The service gets them unpacked.
                request.headers_mut().remove(GRPC_ENCODING);
                let broken_off = Arc::clone(&observation.broken_off);
                let request =
                    request.map(|inner| Body::new(IncomingBody::new(inner, broken_off, messages)));
                // A panic may come before there is a future, too.
                let called = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
                called.map_err(|_| ServiceError::Panicked)
            }
        };
        let span = observation.span.clone();
        let respond = async move {
            let answered = match answer {
                Ok(future) => AssertUnwindSafe(future)
                    .catch_unwind()
                    .await
                    .map_err(|_| ServiceError::Panicked),
                Err(refused) => Err(refused),
            };
            let mut response = match answered {
                // One that its client broke off is neither's fault.
                Ok(Ok(response)) if observation.broken_off.load(Ordering::Relaxed) => response,
                Ok(Ok(response)) if let Some(refused) = observation.refusal.get() => {
                    drop(response);
                    refused.clone().into_http()
                }
                Ok(Ok(response)) => with_reason(response, uri.path(), &observation.shared.metrics),
                Ok(Err(never)) => match never {},
                Err(error) => error.into_status(&observation.shared.metrics).into_http(),
            };
            if !streaming {
                observation.held.let_go();
            }
            head::bound(response.headers_mut());
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(observation.follow(response))
        };
        Box::pin(respond.instrument(span))
    }
}

impl Shared {
    /// Whether a request carries a token, if the server asks for one.
    fn authenticates(&self, headers: &HeaderMap) -> bool {
        self.tokens
            .as_ref()
            .is_none_or(|tokens| tokens.admit(headers))
    }
}

/// The answer to a message that could not be read, before any method saw it, as what it is; and that
/// of a method that there is not, with a sentence.
fn with_reason(response: Response<Body>, path: &str, metrics: &Metrics) -> Response<Body> {
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

/// Whether it is a question after health, of either protocol.
fn is_probe(path: &str) -> bool {
    let open_inference = path.strip_prefix(OPEN_INFERENCE);
    path.starts_with(HEALTH)
        || open_inference
            .is_some_and(|method| matches!(method, "ServerLive" | "ServerReady" | "ModelReady"))
}

/// The caller's id if it is one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| {
        (1..=MAX_REQUEST_ID_BYTES).contains(&id.len())
            && id.as_bytes().iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        let id = format!("{:032x}", rand::random::<u128>());
        // Hexadecimal digits are fit for a header.
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("none"))
    })
}

/// The name of the model that answers a request, once it is known: how what serves the request
/// tells what counts it.
#[derive(Clone, Default)]
pub(super) struct AnsweringModel(Arc<OnceLock<String>>);

impl AnsweringModel {
    /// Counts the request as the model's, unless it is another's already.
    pub(super) fn set(&self, name: &str) {
        self.0.get_or_init(|| name.to_owned());
    }
}

/// A request from its arrival to its end; one that is dropped before was given up by its client.
struct Observation {
    shared: Arc<Shared>,
    method: String,
    model: AnsweringModel,
    span: Span,
    started: Instant,
    code: Code,
    /// Whether the client gave up before it had sent its whole request.
    broken_off: Arc<AtomicBool>,
    /// Why the request was not read to its end.
    refusal: Refusal,
    /// What its messages hold of the server's memory.
    held: Held,
}

impl Observation {
    fn start(shared: &Arc<Shared>, path: &str, id: &HeaderValue) -> Self {
        let method = shared
            .intake
            .schema
            .method(path)
            .map_or(UNKNOWN_METHOD, |method| method.name.as_str());
        let request_id = id.to_str().unwrap_or_default();
        Self {
            method: method.to_owned(),
            model: AnsweringModel::default(),
            span: tracing::info_span!("request", method, request_id),
            shared: Arc::clone(shared),
            started: Instant::now(),
            code: Code::Cancelled,
            broken_off: Arc::default(),
            refusal: Refusal::default(),
            held: Held::new(shared.intake.limits.memory.limit()),
        }
    }

    /// Waits for the status of a response, in its head or in its trailers.
    fn follow(mut self, response: Response<Body>) -> Response<ObservedBody> {
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
        let metrics = &self.shared.metrics;
        let model = self.model.0.get().map_or("", String::as_str);
        let code = if self.broken_off.load(Ordering::Relaxed) {
            Code::Cancelled
        } else {
            self.code
        };
        metrics.observe_request(&self.method, model, code, seconds);
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
