//! The body of a request. Before the service sees a message, whatever the service, its size is
//! bounded, its memory is reserved, and it is decompressed.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::body::Body;

use super::error::{RAISE_MESSAGE_TIMEOUT, ServiceError};
use super::held::Held;
use crate::memory::{Exhausted, Memory, Reservation};
use crate::telemetry::Metrics;
use crate::wire::{DecompressError, Encoding, Method, Scan, Schema, Unfit};

/// The prefix of a gRPC message: a compression flag and a length.
const HEAD_BYTES: usize = 5;
/// Messages of gRPC's own services hold names only.
const FOREIGN_MESSAGE_BYTES: usize = 64 << 10;
/// A message is held twice as it came: by tonic, and by what is decoded from it. What decoding takes beyond
/// that is `Scan::decoded_bytes`.
const COPIES: usize = 2;

/// What bounds messages: their schema, and limits.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) schema: Arc<Schema>,
    pub(super) limits: MessageLimits,
}

/// Limits on messages.
#[derive(Clone, Debug)]
pub struct MessageLimits {
    /// Where the memory of messages comes from.
    pub memory: Memory,
    /// Of one message, compressed and decompressed.
    pub max_bytes: usize,
    /// From the time when the server waits for a message until the message is complete.
    pub timeout: Duration,
}

/// The status of a request whose body was refused; the reply has it in place of the service's.
pub(super) type Refusal = Arc<OnceLock<Status>>;

/// The body of a request. Tonic takes a request that its client broke off for a complete one, and
/// blames it for what is missing; `broken_off` tells the two apart.
pub(super) struct IncomingBody {
    inner: Body,
    broken_off: Arc<AtomicBool>,
    /// `None` if no service knows the method, and nobody reads it.
    messages: Option<Messages>,
}

/// The messages in a body.
pub(super) struct Messages {
    intake: Arc<Intake>,
    metrics: Metrics,
    input: usize,
    streaming: bool,
    max_message_bytes: usize,
    encoding: Option<Encoding>,
    held: Held,
    refusal: Refusal,
    /// Received bytes that are in no message yet.
    unread: Bytes,
    head: Vec<u8>,
    message: Option<Message>,
    /// Messages completed.
    complete: usize,
    /// Pays for tonic's buffer, which in a stream stays as large as its largest message.
    copy: Reservation,
    /// Set while a message is awaited.
    timer: Option<Pin<Box<Sleep>>>,
}

/// A message that is being received.
struct Message {
    compressed: bool,
    length: usize,
    /// Received so far; an uncompressed message has room for its prefix in front.
    bytes: Vec<u8>,
    scan: Scan,
    reservation: Reservation,
}

impl IncomingBody {
    pub(super) fn new(
        inner: Body,
        broken_off: Arc<AtomicBool>,
        messages: Option<Messages>,
    ) -> Self {
        Self {
            inner,
            broken_off,
            messages,
        }
    }

    fn poll_inner(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        let broken_off = match &polled {
            Poll::Ready(Some(Err(_))) => true,
            Poll::Ready(None) => !self.inner.is_end_stream(),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => false,
        };
        if broken_off {
            self.broken_off.store(true, Ordering::Relaxed);
        }
        polled
    }
}

impl hyper::body::Body for IncomingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            let Some(messages) = &mut self.messages else {
                return self.poll_inner(context);
            };
            if messages.refusal.get().is_some() {
                return Poll::Ready(None);
            }
            if messages.is_between() && messages.held.poll_room(context).is_pending() {
                return Poll::Pending;
            }
            match messages.read() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Ok(None) => {}
                // A stream waits while its own messages are answered: their end frees memory.
                Err(ServiceError::Memory(_)) if messages.held.poll_answer(context).is_pending() => {
                    messages.timer = None;
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Some(Err(messages.refuse(error)))),
            }
            let polled = self.poll_inner(context);
            let broken_off = self.broken_off.load(Ordering::Relaxed);
            let Some(messages) = &mut self.messages else {
                return polled;
            };
            let ended = match polled {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        messages.unread = data;
                        continue;
                    }
                    Err(trailers) => Some(Ok(trailers)),
                },
                Poll::Ready(ended) => ended,
                Poll::Pending => {
                    let late = ready!(messages.poll_late(context));
                    return Poll::Ready(Some(Err(messages.refuse(late))));
                }
            };
            if !messages.is_between() && !broken_off {
                let early = "it ends before its last byte".to_owned();
                return Poll::Ready(Some(Err(messages.refuse(ServiceError::Unreadable(early)))));
            }
            return Poll::Ready(ended);
        }
    }

    fn is_end_stream(&self) -> bool {
        let unread = |messages: &Messages| !messages.is_between() || !messages.unread.is_empty();
        !self.messages.as_ref().is_some_and(unread) && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.messages {
            None => self.inner.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

impl Messages {
    pub(super) fn new(
        intake: Arc<Intake>,
        metrics: Metrics,
        method: &Method,
        encoding: Option<Encoding>,
        held: Held,
        refusal: Refusal,
    ) -> Self {
        Self {
            copy: intake.limits.memory.reservation(),
            input: method.input(),
            streaming: method.streaming,
            max_message_bytes: if method.foreign {
                // Health and reflection repeat a request's names in their replies.
                intake.limits.max_bytes.min(FOREIGN_MESSAGE_BYTES)
            } else {
                intake.limits.max_bytes
            },
            intake,
            metrics,
            encoding,
            held,
            refusal,
            unread: Bytes::new(),
            head: Vec::with_capacity(HEAD_BYTES),
            message: None,
            complete: 0,
            timer: None,
        }
    }

    /// Whether the last message is complete and the next has not begun.
    fn is_between(&self) -> bool {
        self.head.is_empty() && self.message.is_none()
    }

    /// Ready when a message is late. Between the messages of a stream there is no time limit; within a
    /// message, and before the one message of a call, there is.
    fn poll_late(&mut self, context: &mut Context<'_>) -> Poll<ServiceError> {
        if self.streaming && self.is_between() {
            self.timer = None;
            return Poll::Pending;
        }
        let timeout = self.intake.limits.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(timeout)));
        timer.as_mut().poll(context).map(|()| ServiceError::Late {
            seconds: timeout.as_secs(),
            remedy: RAISE_MESSAGE_TIMEOUT,
        })
    }

    fn refuse(&mut self, error: ServiceError) -> Status {
        let status = error.into_status(&self.metrics);
        let _ = self.refusal.set(status.clone());
        self.unread = Bytes::new();
        self.message = None;
        status
    }

    /// Reads received bytes up to the end of a message. May be called again after
    /// [`ServiceError::Memory`].
    fn read(&mut self) -> Result<Option<Bytes>, ServiceError> {
        loop {
            if let Some(message) = &mut self.message {
                let left = message.length - message.taken();
                if left == 0 {
                    return self.finish().map(Some);
                }
                if self.unread.is_empty() {
                    return Ok(None);
                }
                let piece = left.min(self.unread.len());
                message.pay_for(piece)?;
                message.take(&self.unread.split_to(piece))?;
            } else if self.unread.is_empty() {
                return Ok(None);
            } else {
                self.read_head()?;
            }
        }
    }

    fn read_head(&mut self) -> Result<(), ServiceError> {
        if self.head.is_empty() {
            // A service that asks for more has decoded the previous message.
            if self.streaming {
                self.held.release();
            } else if self.complete > 0 {
                let more = "the method takes one message, got more".to_owned();
                return Err(ServiceError::Unreadable(more));
            }
        }
        let missing = HEAD_BYTES - self.head.len();
        let piece = self.unread.split_to(missing.min(self.unread.len()));
        self.head.extend_from_slice(&piece);
        let &[flag, a, b, c, d] = self.head.as_slice() else {
            return Ok(());
        };
        let unreadable = |reason: &str| Err(ServiceError::Unreadable(reason.to_owned()));
        match (flag, self.encoding) {
            (0, _) | (1, Some(_)) => {}
            (1, None) => {
                return unreadable("it is compressed, and `grpc-encoding` does not say how");
            }
            _ => return unreadable("its flag is neither 0 nor 1"),
        }
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let max = self.max_message_bytes;
        if length > max {
            return Err(too_long(&length.to_string(), max));
        }
        // An image's values may decode to as many bytes as a message may have.
        let scan = Scan::new(Arc::clone(&self.intake.schema), self.input, max);
        self.head.clear();
        self.message = Some(Message {
            compressed: flag == 1,
            length,
            bytes: match flag {
                0 => vec![0; HEAD_BYTES],
                _ => Vec::new(),
            },
            scan,
            reservation: self.intake.limits.memory.reservation(),
        });
        Ok(())
    }

    /// Completes a message, in the form that the service reads.
    fn finish(&mut self) -> Result<Bytes, ServiceError> {
        if let (Some(message), Some(encoding)) = (&mut self.message, self.encoding)
            && message.compressed
        {
            message.decompress(encoding, self.max_message_bytes)?;
        }
        if let Some(message) = &mut self.message {
            // For what its last piece decodes to.
            message.pay_for(0)?;
        }
        let Some(message) = self.message.take() else {
            return Ok(Bytes::new());
        };
        message.scan.end()?;
        self.timer = None;
        let decoded = message.scan.decoded_bytes();
        let Message {
            mut bytes,
            mut reservation,
            ..
        } = message;
        let length = bytes.len() - HEAD_BYTES;
        if let (Some(head), Ok(length)) = (bytes.get_mut(1..HEAD_BYTES), u32::try_from(length)) {
            head.copy_from_slice(&length.to_be_bytes());
        }
        reservation.shrink_to(COPIES * length + decoded);
        if self.streaming {
            let above = length.saturating_sub(self.copy.bytes());
            reservation.give(above, &mut self.copy);
            reservation.shrink_to(length + decoded);
        }
        self.held.hold(reservation, self.copy.bytes());
        self.complete += 1;
        Ok(bytes.into())
    }
}

impl Message {
    /// Bytes received.
    fn taken(&self) -> usize {
        self.bytes.len() - if self.compressed { 0 } else { HEAD_BYTES }
    }

    /// Grows the reservation to what the message needs with `piece` bytes more.
    fn pay_for(&mut self, piece: usize) -> Result<(), Exhausted> {
        let taken = self.taken() + piece;
        let needed = if self.compressed {
            taken
        } else {
            COPIES * taken + self.scan.decoded_bytes()
        };
        pay(&mut self.reservation, needed)
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), Unfit> {
        if !self.compressed {
            self.scan.read(piece)?;
        }
        if self.bytes.capacity() - self.bytes.len() < piece.len() {
            // The buffer doubles, but never beyond the message's length.
            let left = self.length - self.taken();
            self.bytes
                .reserve_exact(left.min(self.bytes.len().max(piece.len())));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// Decompresses it; leaves it as it is if there is no memory.
    fn decompress(&mut self, encoding: Encoding, max: usize) -> Result<(), ServiceError> {
        let Self {
            bytes: compressed,
            scan: unread,
            reservation,
            ..
        } = self;
        let mut scan = unread.clone();
        let mut bytes = vec![0; HEAD_BYTES];
        let decompressed = encoding.decompress(compressed, max, |piece| {
            bytes.extend_from_slice(piece);
            let length = bytes.len() - HEAD_BYTES;
            if length > max {
                return Err(too_long("more when it is decompressed", max));
            }
            scan.read(piece)?;
            let needed = compressed.len() + COPIES * length + scan.decoded_bytes();
            Ok(pay(reservation, needed)?)
        });
        match decompressed {
            Ok(()) => {
                (self.bytes, self.scan, self.compressed) = (bytes, scan, false);
                self.length = self.taken();
                Ok(())
            }
            Err(DecompressError::Invalid(error)) => {
                Err(ServiceError::Unreadable(error.to_string()))
            }
            Err(DecompressError::Piece(error)) => {
                reservation.shrink_to(compressed.len());
                Err(error)
            }
        }
    }
}

/// Makes a reservation as large as what is needed.
fn pay(reservation: &mut Reservation, needed: usize) -> Result<(), Exhausted> {
    reservation.grow(needed.saturating_sub(reservation.bytes()))
}

fn too_long(found: &str, max: usize) -> ServiceError {
    ServiceError::TooLong(format!("expected at most {max} bytes, got {found}"))
}
