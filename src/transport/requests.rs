//! The requests of a connection: how many are in flight, and how long each may take.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use tokio::time::Instant;
use tonic::Status;
use tower::{Service, ServiceExt};

use crate::wire::timeout_in;

/// The requests of a connection.
pub(super) struct Activity(Mutex<State>);

struct State {
    has_begun: bool,
    under_way: usize,
    /// When the last request ended, or the connection began.
    idle_since: Instant,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            has_begun: false,
            under_way: 0,
            idle_since: Instant::now(),
        }))
    }

    /// Whether there was a request.
    pub(super) fn has_begun(&self) -> bool {
        self.state().has_begun
    }

    /// Since when no request is in flight, if none is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        (state.under_way == 0).then_some(state.idle_since)
    }

    fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        state.has_begun = true;
        state.under_way += 1;
        UnderWay(Arc::clone(self))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts a request as long as it lives.
struct UnderWay(Arc<Activity>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        state.idle_since = Instant::now();
    }
}

/// A service whose requests are counted for a connection.
pub(super) struct Counted<S> {
    inner: S,
    activity: Arc<Activity>,
}

impl<S> Counted<S> {
    pub(super) fn new(inner: S, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for Counted<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error = Status> + Unpin + Send + 'static,
{
    type Response = Response<CountedBody<B>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let under_way = self.activity.begin();
        let deadline = timeout_in(request.headers());
        let answer = self
            .inner
            .clone()
            .oneshot(request.map(tonic::body::Body::new));
        Box::pin(async move {
            let response = match deadline {
                None => answer.await?.map(Some),
                Some(deadline) => match tokio::time::timeout(deadline, answer).await {
                    Ok(response) => response?.map(Some),
                    Err(_) => late().into_http::<()>().map(|()| None),
                },
            };
            Ok(response.map(|inner| CountedBody {
                inner,
                _under_way: under_way,
            }))
        })
    }
}

fn late() -> Status {
    Status::deadline_exceeded("the time of the header grpc-timeout is over")
}

/// The body of a response, if it has one; the request is in flight until it ends.
pub(super) struct CountedBody<B> {
    inner: Option<B>,
    _under_way: UnderWay,
}

impl<B: Body + Unpin> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.inner {
            Some(inner) => Pin::new(inner).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let inner = self.inner.as_ref();
        inner.map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}
