//! What every request passes, whatever its service: it gets an id and a span, needs a token, is
//! counted when it ends, and a panic in it ends it alone. (Panics are counted and logged where all
//! threads' are: [`crate::telemetry::watch_panics`].)
//!
//! This is one layer and not a stack of them, because one [`Observation`] is shared by the request's
//! body, the service's future and the reply's body, and counts a request once however it ends: a
//! panic in a body, a client that goes and a refused message included. Each part is a file.

mod head;
mod observation;
mod reply;
mod request_id;
mod unimplemented;

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use hyper::header::HeaderName;
use hyper::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::Instrument;

use self::reply::with_reason;
use super::ServiceError;
use super::access::{Access, Need};
use super::call::Caller;
use super::held::Held;
use super::incoming::{IncomingBody, Intake, MessageLimits, Messages};
use crate::telemetry::{Metrics, continue_trace};
use crate::wire::{Encoding, Schema};

pub use self::observation::ObservedBody;
pub(crate) use self::observation::{AnsweringModel, Observation};
pub(crate) use self::request_id::{REQUEST_ID, request_id};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const HEALTH: &str = "/grpc.health.v1.Health/";
const OPEN_INFERENCE: &str = "/inference.GRPCInferenceService/";
/// The label of unknown methods, of which a client can invent any number.
const UNKNOWN_METHOD: &str = "unknown";

/// Puts [`Requests`] around a server's services.
#[derive(Clone)]
pub struct RequestLayer(Arc<Shared>);

struct Shared {
    metrics: Metrics,
    access: Access,
    intake: Arc<Intake>,
}

impl RequestLayer {
    /// Counts in `metrics`, and admits requests by `access`. `descriptors` are encoded
    /// `FileDescriptorSet`s of the services.
    ///
    /// # Errors
    /// When descriptors cannot be decoded.
    pub fn new(
        metrics: Metrics,
        access: Access,
        limits: MessageLimits,
        descriptors: &[&[u8]],
    ) -> Result<Self, prost::DecodeError> {
        Ok(Self(Arc::new(Shared {
            metrics,
            access,
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
        let shared = Arc::clone(&self.shared);
        let method = shared.intake.schema.method(path);
        let name = method.map_or(UNKNOWN_METHOD, |method| method.name.as_str());
        let held = Held::new(shared.intake.limits.memory.limit());
        let observation = Observation::start(&shared.metrics, name, &id).with_held(held);
        let sender = shared.access.admit(need(path), &uri, request.headers());
        // A client without a token does not choose the trace.
        if matches!(sender, Ok(Some(_))) {
            continue_trace(&observation.span, request.headers());
        }
        let streaming = method.is_some_and(|method| method.streaming);
        let messages = method.map(|method| {
            let encoding = match request.headers().get(GRPC_ENCODING) {
                None => Ok(None),
                Some(name) => Encoding::named(name.as_bytes()),
            };
            encoding.map(|encoding| {
                Messages::new(
                    Arc::clone(&shared.intake),
                    shared.metrics.clone(),
                    method,
                    encoding,
                    observation.held.clone(),
                    Arc::clone(&observation.refusal),
                )
            })
        });
        request.extensions_mut().insert(observation.model.clone());
        request.extensions_mut().insert(observation.held.clone());
        let answer = match (sender, messages.transpose()) {
            (Err(refused), _) => Err(refused),
            (_, Err(unknown)) => Err(ServiceError::Encoding(unknown)),
            (Ok(sender), Ok(messages)) => {
                let caller = Caller::new(&id, name, sender.unwrap_or_default());
                request.extensions_mut().insert(caller);
                // The service gets decompressed messages.
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
                // The client broke it off.
                Ok(Ok(response)) if observation.broken_off.load(Ordering::Relaxed) => response,
                Ok(Ok(response)) if let Some(refused) = observation.refusal.get() => {
                    drop(response);
                    refused.clone().into_http()
                }
                Ok(Ok(response)) => with_reason(response, uri.path(), &shared.metrics),
                Ok(Err(never)) => match never {},
                Err(error) => error.into_status(&shared.metrics).into_http(),
            };
            if !streaming {
                observation.held.release();
            }
            head::bound(response.headers_mut());
            response.headers_mut().insert(REQUEST_ID, id);
            Ok(observation.follow(response))
        };
        Box::pin(respond.instrument(span))
    }
}

/// What a request to a path needs.
fn need(path: &str) -> Need {
    match path.strip_prefix(OPEN_INFERENCE) {
        Some("ServerLive" | "ServerReady" | "ModelReady") => Need::Nothing,
        Some("RepositoryModelLoad" | "RepositoryModelUnload") => Need::Admin,
        None if path.starts_with(HEALTH) => Need::Nothing,
        _ => Need::Token,
    }
}
