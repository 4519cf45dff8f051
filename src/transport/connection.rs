//! Accepts connections: bounded in number, and none may hold a place without a word.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::Reloaded;
use crate::telemetry::Metrics;

/// How long a client may take to its first byte, and over TLS to the end of the handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// When the system has no file handle for a connection, some must close first.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);
/// Connections that are accepted and not yet served.
const BACKLOG: usize = 64;

/// How connections are accepted.
pub struct Connections {
    /// Where.
    pub listener: TcpListener,
    /// Over TLS, if there is a configuration.
    pub tls: Option<Reloaded<Arc<ServerConfig>>>,
    /// How many may be open; others are closed at once.
    pub max_open: usize,
    /// Counts those.
    pub metrics: Metrics,
}

impl Connections {
    /// Accepts until the stream is dropped; then the listener is closed.
    pub fn accept(self) -> ReceiverStream<io::Result<Connection>> {
        let (accepted, stream) = mpsc::channel(BACKLOG);
        let open = Arc::new(Semaphore::new(self.max_open));
        tokio::spawn(async move {
            tokio::select! {
                () = accepted.closed() => {}
                () = self.accept_into(&accepted, open) => {}
            }
        });
        ReceiverStream::new(stream)
    }

    async fn accept_into(
        &self,
        accepted: &mpsc::Sender<io::Result<Connection>>,
        open: Arc<Semaphore>,
    ) {
        loop {
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&open).try_acquire_owned() else {
                self.metrics.reject("connections");
                continue;
            };
            let tls = self.tls.as_ref().map(Reloaded::get);
            let accepted = accepted.clone();
            tokio::spawn(async move {
                let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, shake_hands(stream, tls));
                match shaken.await {
                    Ok(Ok((io, remote))) => {
                        let connection = Connection {
                            io,
                            remote,
                            _place: place,
                        };
                        // A server that stops takes no more.
                        let _ = accepted.send(Ok(connection)).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                    Err(_) => tracing::debug!("a client connected and did not speak"),
                }
            });
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
) -> io::Result<(Pin<Box<dyn ReadWrite>>, SocketAddr)> {
    stream.set_nodelay(true)?;
    let remote = stream.peer_addr()?;
    Ok(match tls {
        Some(config) => (
            Box::pin(TlsAcceptor::from(config).accept(stream).await?),
            remote,
        ),
        None => {
            if stream.peek(&mut [0]).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            (Box::pin(stream), remote)
        }
    })
}

trait ReadWrite: AsyncRead + AsyncWrite + Send {}

impl<T: AsyncRead + AsyncWrite + Send> ReadWrite for T {}

/// A connection with a client, encrypted or not.
pub struct Connection {
    io: Pin<Box<dyn ReadWrite>>,
    remote: SocketAddr,
    _place: OwnedSemaphorePermit,
}

impl Connected for Connection {
    type ConnectInfo = SocketAddr;

    fn connect_info(&self) -> SocketAddr {
        self.remote
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io.as_mut().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.as_mut().poll_shutdown(context)
    }
}

/// Takes as many file handles as the system allows the process, and says how many that are: every
/// connection is one, and the soft limit that processes start with is small.
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
