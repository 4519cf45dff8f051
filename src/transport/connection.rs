//! Accepts connections: bounded in number, and a silent one is closed.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Bytes};
use hyper::{Request, Response};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tonic::Status;
use tower::Service;

use super::{ConnectionLimits, Reloaded, Tls, http};
use crate::phase::Phases;
use crate::telemetry::Metrics;

/// After the system had no file descriptor left, for some to close.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// How connections are accepted.
pub struct Connections {
    /// Where.
    pub listener: TcpListener,
    /// Over TLS, if there is a configuration.
    pub tls: Option<Reloaded<Tls>>,
    /// How many may be open; others are closed at once.
    pub max_open: usize,
    /// How long each may take over what it does, and stay.
    pub limits: ConnectionLimits,
    /// Counts those that are closed at once.
    pub metrics: Metrics,
}

impl Connections {
    /// Serves `service` to whoever connects, until the server drains; then no connection is accepted, those
    /// that are open are told to go away, and the call returns when they have.
    pub async fn serve<S, B>(self, service: S, mut phases: Phases)
    where
        S: Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error = Status> + Unpin + Send + 'static,
    {
        let permits = Arc::new(Semaphore::new(self.max_open));
        let mut open = JoinSet::new();
        loop {
            let stream = tokio::select! {
                () = phases.draining() => break,
                Some(_) = open.join_next() => continue,
                stream = accept(&self.listener) => stream,
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                self.metrics.reject("connections");
                continue;
            };
            let tls = self.tls.as_ref().map(|tls| tls.get().grpc);
            let connection = Accepted {
                stream,
                tls,
                limits: self.limits.clone(),
                phases: phases.clone(),
                _permit: permit,
            };
            open.spawn(connection.serve(service.clone()));
        }
        drop(self.listener);
        while open.join_next().await.is_some() {}
    }
}

/// The next connection.
pub(crate) async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// A connection before its handshake.
struct Accepted {
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    limits: ConnectionLimits,
    phases: Phases,
    _permit: OwnedSemaphorePermit,
}

impl Accepted {
    async fn serve<S, B>(mut self, service: S)
    where
        S: Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes, Error = Status> + Unpin + Send + 'static,
    {
        let first_request_by = Instant::now() + self.limits.handshake;
        let shaken = tokio::select! {
            shaken = tokio::time::timeout_at(first_request_by, shake_hands(self.stream, self.tls)) => shaken,
            // A handshake under way is not waited for.
            () = self.phases.draining() => return,
        };
        match shaken {
            Ok(Ok(io)) => {
                let (limits, phases) = (&self.limits, &mut self.phases);
                http::serve(io, service, limits, first_request_by, phases).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
            Err(_) => tracing::debug!("a client connected and did not speak"),
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
) -> io::Result<Pin<Box<dyn ReadWrite>>> {
    stream.set_nodelay(true)?;
    Ok(match tls {
        Some(config) => Box::pin(TlsAcceptor::from(config).accept(stream).await?),
        None => Box::pin(stream),
    })
}

/// A connection as requests are read from it, with or without TLS.
pub(crate) trait ReadWrite: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

/// Raises the soft limit on open files to the hard one and returns it: a connection takes a file
/// descriptor, and the soft limit that processes start with is small.
pub fn raise_file_limit() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    let files = getrlimit(Resource::Nofile).current;
    files.map_or(usize::MAX, |files| {
        usize::try_from(files).unwrap_or(usize::MAX)
    })
}
