//! The body of a request. Every message is counted, unpacked and paid for from the server's memory
//! before the service sees it, whatever the service: the service gets it unpacked.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;

use super::ServiceError;
use super::held::Held;
use crate::memory::{Exhausted, Memory, Reservation};
use crate::telemetry::Metrics;
use crate::wire::{Encoding, Method, Scan, Schema, UnpackError};

/// Of a message of gRPC: whether it is packed, and its length.
const HEAD_BYTES: usize = 5;
/// How long a message may take to arrive, however short it is, and how fast a long one must be.
const ARRIVAL_TIME: Duration = Duration::from_secs(20);
const ARRIVAL_BYTES_PER_SECOND: usize = 64 << 10;
/// What a client that says how long its message is gets for it at once.
const FIRST_BYTES: usize = 16 << 10;
/// What a message becomes: the service's copy of it, and what is decoded from that.
const COPIES: usize = 2;

/// What messages are measured by, and paid from.
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) schema: Arc<Schema>,
    pub(super) memory: Memory,
    pub(super) max_message_bytes: usize,
}

/// Why a request was not read to its end; whoever answers it says so, whatever the service does.
pub(super) type Refusal = Arc<OnceLock<Status>>;

/// The body of a request. What reads it takes one that its client broke off for one that ended, and
/// blames it for what is missing.
pub(super) struct IncomingBody {
    inner: Body,
    broken_off: Arc<AtomicBool>,
    /// None if no service knows the method, and nobody reads it.
    messages: Option<Messages>,
}

/// The messages in a body.
pub(super) struct Messages {
    intake: Arc<Intake>,
    metrics: Metrics,
    input: usize,
    streaming: bool,
    encoding: Option<Encoding>,
    held: Held,
    refusal: Refusal,
    /// Of a frame of HTTP/2.
    unread: Bytes,
    head: Vec<u8>,
    message: Option<Message>,
    /// How many there were.
    whole: usize,
    /// The service's copy of a stream's messages stays as large as the largest.
    copy: Reservation,
    arrival: Arrival,
}

/// A message that arrives.
struct Message {
    packed: bool,
    length: usize,
    /// As they came; after the head if they are not packed.
    bytes: Vec<u8>,
    scan: Scan,
    reservation: Reservation,
    /// What the packed message takes beside, while it is unpacked.
    packed_bytes: usize,
}

/// When a message must be whole.
#[derive(Default)]
struct Arrival {
    began: Option<Instant>,
    bytes: usize,
    timer: Option<Pin<Box<Sleep>>>,
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
                Poll::Pending if messages.arrival.poll_late(context) => {
                    return Poll::Ready(Some(Err(messages.refuse(ServiceError::Stalled))));
                }
                Poll::Pending => return Poll::Pending,
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
            copy: intake.memory.reservation(),
            input: method.input(),
            streaming: method.streaming,
            intake,
            metrics,
            encoding,
            held,
            refusal,
            unread: Bytes::new(),
            head: Vec::with_capacity(HEAD_BYTES),
            message: None,
            whole: 0,
            arrival: Arrival::default(),
        }
    }

    /// Whether no message has begun that is not whole.
    fn is_between(&self) -> bool {
        self.head.is_empty() && self.message.is_none()
    }

    fn refuse(&mut self, error: ServiceError) -> Status {
        let status = error.into_status(&self.metrics);
        let _ = self.refusal.set(status.clone());
        self.unread = Bytes::new();
        self.message = None;
        status
    }

    /// Reads on in what came, to the end of a message.
    fn read(&mut self) -> Result<Option<Bytes>, ServiceError> {
        while !self.unread.is_empty() {
            let Some(message) = &mut self.message else {
                self.read_head()?;
                if let Some(message) = &self.message
                    && message.length == 0
                {
                    return self.finish().map(Some);
                }
                continue;
            };
            let left = message.length - message.taken();
            let piece = self.unread.split_to(left.min(self.unread.len()));
            self.arrival.bytes += piece.len();
            message.take(&piece)?;
            if piece.len() == left {
                return self.finish().map(Some);
            }
        }
        Ok(None)
    }

    fn read_head(&mut self) -> Result<(), ServiceError> {
        if self.head.is_empty() {
            // The service has decoded the one before, and keeps what it needs of it.
            if self.streaming {
                self.held.let_go();
            } else if self.whole > 0 {
                let more = "the method takes one message, got more".to_owned();
                return Err(ServiceError::Unreadable(more));
            }
            self.arrival.begin();
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
        let max = self.intake.max_message_bytes;
        if length > max {
            return Err(too_long(&length.to_string(), max));
        }
        let mut bytes = Vec::with_capacity((HEAD_BYTES + length).min(FIRST_BYTES));
        if flag == 0 {
            bytes.extend([0; HEAD_BYTES]);
        }
        self.head.clear();
        self.message = Some(Message {
            packed: flag == 1,
            length,
            bytes,
            scan: Scan::new(Arc::clone(&self.intake.schema), self.input, COPIES * max),
            reservation: self.intake.memory.take(FIRST_BYTES.min(length))?,
            packed_bytes: 0,
        });
        Ok(())
    }

    /// A message that is whole, as the service reads it.
    fn finish(&mut self) -> Result<Bytes, ServiceError> {
        self.arrival = Arrival::default();
        let Some(mut message) = self.message.take() else {
            return Ok(Bytes::new());
        };
        if let (true, Some(encoding)) = (message.packed, self.encoding) {
            message.unpack(encoding, self.intake.max_message_bytes)?;
        }
        message.scan.end()?;
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
        self.held.hold(reservation);
        self.whole += 1;
        Ok(bytes.into())
    }
}

impl Message {
    /// How many of its bytes have come.
    fn taken(&self) -> usize {
        self.bytes.len() - if self.packed { 0 } else { HEAD_BYTES }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), ServiceError> {
        if self.packed {
            self.pay(self.bytes.len() + piece.len())?;
            self.bytes.extend_from_slice(piece);
            return Ok(());
        }
        self.keep(piece)
    }

    /// Makes the reservation as large as what the message needs.
    fn pay(&mut self, bytes: usize) -> Result<(), Exhausted> {
        let missing = bytes.saturating_sub(self.reservation.bytes());
        self.reservation.grow(missing)
    }

    /// Counts and keeps a piece of the message as it is when nothing packs it.
    fn keep(&mut self, piece: &[u8]) -> Result<(), ServiceError> {
        self.scan.read(piece)?;
        let length = self.bytes.len() - HEAD_BYTES + piece.len();
        self.pay(self.packed_bytes + COPIES * length + self.scan.decoded_bytes())?;
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    fn unpack(&mut self, encoding: Encoding, max: usize) -> Result<(), ServiceError> {
        let packed = std::mem::replace(&mut self.bytes, vec![0; HEAD_BYTES]);
        self.packed_bytes = packed.len();
        let unpacked = encoding.unpack(&packed, max, |piece| {
            if self.bytes.len() - HEAD_BYTES + piece.len() > max {
                return Err(too_long("more when it is unpacked", max));
            }
            self.keep(piece)
        });
        unpacked.map_err(|error| match error {
            UnpackError::Piece(error) => error,
            UnpackError::Packed(error) => ServiceError::Unreadable(error.to_string()),
        })
    }
}

impl Arrival {
    fn begin(&mut self) {
        self.began = Some(Instant::now());
    }

    /// Whether a message that has begun is late; looks again when it will be.
    fn poll_late(&mut self, context: &mut Context<'_>) -> bool {
        let Some(began) = self.began else {
            return false;
        };
        let for_its_bytes = Duration::from_secs((self.bytes / ARRIVAL_BYTES_PER_SECOND) as u64);
        let late = began + ARRIVAL_TIME + for_its_bytes;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(late)));
        if timer.deadline() != late {
            timer.as_mut().reset(late);
        }
        timer.as_mut().poll(context).is_ready()
    }
}

fn too_long(found: &str, max: usize) -> ServiceError {
    ServiceError::TooLong(format!("expected at most {max} bytes, got {found}"))
}
