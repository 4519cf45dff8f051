//! REST: `/v1` for curl and browsers, `/v2` for clients of the Open Inference Protocol. Adapters around the core of [`crate::service`], with its limits,
//! priorities, deadlines, tokens and errors.

mod body;
mod detector;
mod error;
mod infer_request;
mod json;
mod open_inference;
mod openapi;
mod parameters;
mod problem;
mod replies;
mod repository;
mod route;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, Response};
use futures_util::FutureExt;
use tracing::Instrument;

use self::body::BodyLimits;
use self::detector::Asking;
use self::error::RestError;
use self::route::Route;
use crate::request::{RequestSettings, Violation, cut};
use crate::service::{
    Access, Call, Caller, Core, Need, Observation, RAISE_MESSAGE_TIMEOUT, REQUEST_ID, ServiceError,
    request_id,
};
use crate::telemetry::continue_trace;

/// How long a client waits, in milliseconds.
const TIMEOUT: &str = "x-request-timeout-ms";
/// The label of unknown paths, of which a client can invent any number.
const UNKNOWN: &str = "unknown";

/// In a request's extensions: few connections are left, and its body has to come soon.
#[derive(Clone, Copy, Debug)]
pub struct Crowded;

/// What requests are answered with. Clones share it.
#[derive(Clone)]
pub struct Rest(Arc<Shared>);

struct Shared {
    core: Arc<Core>,
    access: Access,
    limits: BodyLimits,
}

impl Rest {
    /// Answers by `core` to whom `access` admits.
    pub fn new(core: Arc<Core>, access: Access, settings: &RequestSettings) -> Self {
        let limits = BodyLimits {
            memory: core.memory.clone(),
            max_bytes: settings.max_message_bytes,
            timeout: settings.message_timeout(),
            remedy: RAISE_MESSAGE_TIMEOUT,
        };
        Self(Arc::new(Shared {
            core,
            access,
            limits,
        }))
    }

    /// Answers a request; one that came without TLS where there has to be some is refused.
    pub async fn answer(self, request: Request<Body>, is_secure: bool) -> Response<Body> {
        let Shared { core, access, .. } = &*self.0;
        let id = request_id(request.headers());
        let route = Route::of(request.uri().path());
        let name = route
            .as_ref()
            .map_or(UNKNOWN, |route| route.operation.name());
        let is_open_inference =
            (route.as_ref()).is_some_and(|route| route.operation.is_open_inference());
        let observation = Observation::start(&core.metrics, name, &id);
        let need = (route.as_ref()).map_or(Need::Token, |route| route.operation.need());
        let sender = access.admit(need, request.uri(), request.headers());
        // A client without a token does not choose the trace.
        if matches!(sender, Ok(Some(_))) {
            continue_trace(&observation.span, request.headers());
        }
        let (head, mut body) = request.into_parts();
        let answer = async {
            if !is_secure {
                return Err(RestError::NoTls);
            }
            if core.phases.is_draining() {
                return Err(ServiceError::Draining.into());
            }
            let caller = Caller::new(&id, name, sender?.unwrap_or_default());
            let call = Call::of(caller, observation.model.clone());
            self.0.answer(route, call, &head, &mut body).await
        };
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let answered = answer.instrument(observation.span.clone()).await;
        let answered = answered.unwrap_or_else(|_| Err(ServiceError::Panicked.into()));
        let (mut response, code) = match answered {
            Ok(response) => (response, tonic::Code::Ok),
            Err(error) => {
                if !error.is_late() {
                    self.0.limits.discard(&head.headers, &mut body).await;
                }
                observation.span.in_scope(|| error.observe(&core.metrics));
                problem::reply(error, id.to_str().unwrap_or_default(), is_open_inference)
            }
        };
        response.headers_mut().insert(REQUEST_ID, id);
        observation.end(code);
        response
    }
}

impl Shared {
    async fn answer(
        &self,
        route: Option<Route>,
        call: Call,
        head: &Parts,
        body: &mut Body,
    ) -> Result<Response<Body>, RestError> {
        let route = route.ok_or(RestError::NoRoute)?;
        let expected = route.operation.method();
        let asks_for_head = head.method == Method::HEAD && expected == Method::GET;
        if head.method != expected && !asks_for_head {
            let got = cut(head.method.as_str()).into_owned();
            return Err(RestError::Method { expected, got });
        }
        let crowded = head.extensions.get::<Crowded>();
        let limits = crowded.map_or_else(|| self.limits.clone(), |_| self.limits.crowded());
        let asking = Asking {
            core: &self.core,
            limits: &limits,
            call: call.within(timeout(&head.headers)?),
            route,
            query: head.uri.query(),
            headers: &head.headers,
        };
        asking.answer(body).await
    }
}

/// How long the client waits, if it says so.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Violation> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let milliseconds = value.to_str().ok().and_then(|text| text.parse().ok());
    milliseconds
        .map(Duration::from_millis)
        .map(Some)
        .ok_or_else(|| {
            let got = String::from_utf8_lossy(value.as_bytes());
            let reason = format!(
                "expected a whole number of milliseconds, got {:?}",
                cut(&got)
            );
            Violation::new(TIMEOUT, reason)
        })
}
