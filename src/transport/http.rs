//! One connection of HTTP/2, or of HTTP/1.1 where it is spoken: serves it, and decides when it ends.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Bytes};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_io_timeout::TimeoutStream;
use tonic::Status;
use tower::Service;

use super::requests::{Activity, Counted};
use crate::phase::Phases;

/// Of a connection, and of each of its requests: what a client may send before it is read. This memory
/// comes on top of what requests may hold.
const WINDOW_BYTES: u32 = 256 << 10;
/// Of the head of a request over HTTP/1.1.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// How long a client has to answer a keep-alive ping.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a client without a request under way has to read that the server stops, or that its time
/// is up.
const SHORT_NOTICE: Duration = Duration::from_millis(500);
/// The same when there is no hurry; a request that crosses the server's GOAWAY is answered.
const LONG_NOTICE: Duration = Duration::from_secs(10);
/// Relative jitter, so that connections that began together do not end together.
const AGE_JITTER: f64 = 0.1;

/// How long connections may take over what they do, and stay.
#[derive(Clone, Debug)]
pub struct ConnectionLimits {
    /// From the connection to its first request; the handshakes of TLS and of HTTP/2 are within it.
    pub handshake: Duration,
    /// Silence after which a client is sent a keep-alive ping.
    pub keep_alive: Duration,
    /// Without a request under way.
    pub idle: Option<Duration>,
    /// From the handshake on; what is under way then is finished.
    pub age: Option<Duration>,
    /// How long what is under way may take after that.
    pub age_grace: Option<Duration>,
    /// Requests under way at once.
    pub streams: u32,
    /// Whether HTTP/1.1 is spoken, as browsers do without TLS.
    pub http1: bool,
}

/// Serves one connection until it ends, its client has asked nothing by `first_request_by`, one of
/// the limits is reached, or the server drains.
pub(super) async fn serve<S, B>(
    io: impl AsyncRead + AsyncWrite + Unpin + 'static,
    service: S,
    limits: &ConnectionLimits,
    first_request_by: Instant,
    phases: &mut Phases,
) where
    S: Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes, Error = Status> + Unpin + Send + 'static,
{
    let activity = Arc::new(Activity::new());
    let service = Counted::new(service, Arc::clone(&activity));
    let mut io = TimeoutStream::new(io);
    if limits.http1 {
        // HTTP/1.1 has no pings: a client that reads nothing has as long as one takes.
        io.set_write_timeout(Some(limits.keep_alive + KEEP_ALIVE_TIMEOUT));
    }
    let builder = builder(limits);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(Box::pin(io)), service));
    let mut life = Life {
        activity,
        idle: limits.idle,
        first_request_by,
        old_at: limits.age.map(|age| Instant::now() + jittered(age)),
        age_grace: limits.age_grace,
        notice: None,
    };
    let mut look = first_request_by;
    loop {
        let next = tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke");
                }
                return;
            }
            () = phases.draining(), if !life.is_pressed() => {
                life.give_notice(Instant::now(), SHORT_NOTICE, None)
            }
            () = tokio::time::sleep_until(look) => life.look(Instant::now()),
        };
        look = match next {
            Next::LookAt(time) => time,
            Next::GiveNotice(time) => {
                connection.as_mut().graceful_shutdown();
                time
            }
            Next::Close => {
                tracing::debug!("a connection was closed");
                return;
            }
        };
    }
}

fn builder(limits: &ConnectionLimits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        // What a client may send before its requests are read, and paid for.
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        // As many as there may be can be given up at once: a proxy's clients share a connection.
        .max_pending_accept_reset_streams(Some(limits.streams as usize))
        .keep_alive_interval(Some(limits.keep_alive))
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    if !limits.http1 {
        return builder.http2_only();
    }
    builder
        .http1()
        .timer(TokioTimer::new())
        // Also how long a connection waits for its next request.
        .header_read_timeout(limits.handshake)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
}

fn jittered(age: Duration) -> Duration {
    age.mul_f64(rand::random_range(1.0 - AGE_JITTER..=1.0 + AGE_JITTER))
}

/// What decides when a connection ends.
struct Life {
    activity: Arc<Activity>,
    idle: Option<Duration>,
    first_request_by: Instant,
    old_at: Option<Instant>,
    age_grace: Option<Duration>,
    notice: Option<Notice>,
}

/// The client was told to go away.
struct Notice {
    given: Instant,
    /// How long it may stay without a request under way.
    length: Duration,
    /// When it goes whatever is under way.
    until: Option<Instant>,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    LookAt(Instant),
    /// Tells the client to go away, and looks again then.
    GiveNotice(Instant),
    Close,
}

impl Notice {
    /// A time to look at the connection, put forward to when it goes whatever is under way.
    fn bounded(&self, look: Instant) -> Instant {
        self.until.map_or(look, |until| look.min(until))
    }
}

impl Life {
    /// Whether the client has been given the short notice of a drain.
    fn is_pressed(&self) -> bool {
        let notice = self.notice.as_ref();
        notice.is_some_and(|notice| notice.length == SHORT_NOTICE)
    }

    fn give_notice(&mut self, now: Instant, length: Duration, until: Option<Instant>) -> Next {
        let before = self.notice.as_ref();
        let notice = Notice {
            given: now,
            length,
            // A drain leaves an old connection no more time than it had.
            until: until.or(before.and_then(|before| before.until)),
        };
        let look = notice.bounded(now + length);
        self.notice = Some(notice);
        Next::GiveNotice(look)
    }

    fn look(&mut self, now: Instant) -> Next {
        let idle_since = self.activity.idle_since();
        if let Some(notice) = &self.notice {
            if notice.until.is_some_and(|until| until <= now) {
                return Next::Close;
            }
            let end = idle_since.map(|since| since.max(notice.given) + notice.length);
            if end.is_some_and(|end| end <= now) {
                return Next::Close;
            }
            return Next::LookAt(notice.bounded(end.unwrap_or(now + notice.length)));
        }
        if !self.activity.has_begun() && self.first_request_by <= now {
            return self.give_notice(now, SHORT_NOTICE, None);
        }
        if self.old_at.is_some_and(|old_at| old_at <= now) {
            let until = self.age_grace.map(|grace| now + grace);
            return self.give_notice(now, LONG_NOTICE, until);
        }
        let idle_until = self.idle.map(|idle| idle_since.unwrap_or(now) + idle);
        if idle_until.is_some_and(|until| until <= now) {
            return self.give_notice(now, LONG_NOTICE, None);
        }
        let next = idle_until.into_iter().chain(self.old_at).min();
        Next::LookAt(next.unwrap_or(now + Duration::from_secs(3600)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_of_an_old_connection_ends_on_time_also_when_the_server_drains() {
        for grace in [Duration::from_secs(1), Duration::from_secs(15)] {
            let activity = Arc::new(Activity::new());
            let old_at = activity.idle_since().unwrap();
            let mut life = Life {
                activity,
                idle: None,
                first_request_by: old_at + Duration::from_secs(3600),
                old_at: Some(old_at),
                age_grace: Some(grace),
                notice: None,
            };
            let until = old_at + grace;
            let look = until.min(old_at + LONG_NOTICE);
            assert_eq!(life.look(old_at), Next::GiveNotice(look));
            let early = old_at + Duration::from_millis(1);
            assert_eq!(life.look(early), Next::LookAt(look));
            let late = until - Duration::from_millis(1);
            let drained = life.give_notice(late, SHORT_NOTICE, None);
            assert_eq!(drained, Next::GiveNotice(until));
            assert_eq!(life.look(until), Next::Close);
        }
    }
}
