//! Connections over HTTP/1.1: bounded in number and in the time that they may be silent, with or
//! without TLS on one port.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::{HttpState, router};
use crate::phase::Phases;
use crate::rest::Crowded;
use crate::transport::{ReadWrite, Reloaded, Tls, accept};

/// As many connections there may be; others wait.
pub const MAX_CONNECTIONS: usize = 512;
/// With fewer left, a connection ends with its first answer, and its request's body has to come soon: probes
/// find room.
const FEW: usize = MAX_CONNECTIONS / 4;
/// How long a connection may take to its first byte, to a handshake and between requests; less than a probe
/// waits for its turn.
const SILENCE: Duration = Duration::from_secs(3);
/// How long a client may read nothing of a reply.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Of the head of a request.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The first byte of a connection by TLS: the type of a handshake's record (RFC 8446, 5.1). No request of
/// HTTP begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Where HTTP listens.
pub struct Listener {
    listener: TcpListener,
    tls: Option<Reloaded<Tls>>,
    connections: TaskTracker,
}

/// What the connections of a listener share.
#[derive(Clone)]
struct Answers {
    /// To requests that came as they have to.
    all: Router,
    /// To requests without TLS where there has to be some.
    without_tls: Router,
    tls: Option<Reloaded<Tls>>,
    phases: Phases,
}

impl Listener {
    /// Over TLS, if there is a configuration; without it, health and metrics are answered still.
    pub fn new(listener: TcpListener, tls: Option<Reloaded<Tls>>) -> Self {
        Self {
            listener,
            tls,
            connections: TaskTracker::new(),
        }
    }

    /// The connections that were accepted before the server drained.
    pub fn connections(&self) -> TaskTracker {
        self.connections.clone()
    }

    /// Answers until the task is dropped. When the server drains, connections end as soon as their
    /// request is answered.
    pub async fn serve(self, state: HttpState) {
        let answers = Answers {
            phases: state.phases.clone(),
            all: router(state.clone(), true),
            without_tls: router(state, false),
            tls: self.tls,
        };
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // It is never closed.
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            let stream = accept(&self.listener).await;
            let crowded = (permits.available_permits() < FEW).then_some(Crowded);
            let connection = answers.clone().serve(stream, crowded);
            let connection = async move {
                let _permit = permit;
                connection.await;
            };
            if answers.phases.is_draining() {
                tokio::spawn(connection);
            } else {
                self.connections.spawn(connection);
            }
        }
    }
}

impl Answers {
    async fn serve(self, stream: TcpStream, crowded: Option<Crowded>) {
        let phases = self.phases.clone();
        match tokio::time::timeout(SILENCE, self.shake_hands(stream)).await {
            Ok(Ok((io, router))) => converse(io, router, crowded, phases).await,
            Ok(Err(error)) => tracing::debug!(%error, "an HTTP connection broke"),
            Err(_) => tracing::debug!("an HTTP client connected and did not speak"),
        }
    }

    /// Finds out whether the client speaks TLS, and what it is answered.
    async fn shake_hands(self, stream: TcpStream) -> io::Result<(Pin<Box<dyn ReadWrite>>, Router)> {
        stream.set_nodelay(true)?;
        let Some(tls) = self.tls else {
            return Ok((Box::pin(stream), self.all));
        };
        let mut first = [0];
        stream.peek(&mut first).await?;
        if first != [TLS_HANDSHAKE] {
            return Ok((Box::pin(stream), self.without_tls));
        }
        let stream = TlsAcceptor::from(tls.get().http).accept(stream).await?;
        Ok((Box::pin(stream), self.all))
    }
}

/// Answers the requests of a connection.
async fn converse(
    io: Pin<Box<dyn ReadWrite>>,
    router: Router,
    crowded: Option<Crowded>,
    mut phases: Phases,
) {
    // A connection that comes during the drain is served as always: it is a probe.
    let was_draining = phases.is_draining();
    let mut io = TimeoutStream::new(io);
    io.set_write_timeout(Some(WRITE_TIME));
    let has_begun = AtomicBool::new(false);
    let service = service_fn(|mut request: Request<Incoming>| {
        has_begun.store(true, Ordering::Relaxed);
        if let Some(crowded) = crowded {
            request.extensions_mut().insert(crowded);
        }
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { answer.await as Result<Response<Body>, Infallible> }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(SILENCE)
            .max_buf_size(MAX_HEAD_BYTES)
            .keep_alive(crowded.is_none() && !was_draining)
            .serve_connection(TokioIo::new(Box::pin(io)), service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = phases.draining(), if !was_draining => {
            if !has_begun.load(Ordering::Relaxed) {
                return;
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}
