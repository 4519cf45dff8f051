//! The body of a request: its size is bounded, its memory is paid for, and it has to come in time.

use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT};
use http_body_util::BodyExt;

use crate::memory::{Memory, Reservation};
use crate::scheduler::SchedulerError;
use crate::service::ServiceError;
use crate::wire::{DecompressError, Encoding};

/// A body is held as it came, and a second time while its buffer grows or what is in it is decoded.
const COPIES: usize = 2;

/// How long the rest of a body may take whose request is refused.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// How long a body may take when few connections are left; less than a probe waits for its turn.
const CROWDED_TIME: Duration = Duration::from_secs(3);

/// Limits on bodies.
#[derive(Clone, Debug)]
pub(super) struct BodyLimits {
    /// Where their memory comes from.
    pub(super) memory: Memory,
    /// Of one body, compressed and decompressed.
    pub(super) max_bytes: usize,
    /// From the head of a request to the last byte of its body.
    pub(super) timeout: Duration,
    /// What a client may do whose body is late.
    pub(super) remedy: &'static str,
}

/// A body that is complete.
#[derive(Debug)]
pub(super) struct Received {
    /// Decompressed.
    pub(super) bytes: Vec<u8>,
    /// What it holds of the server's memory, until the request is answered.
    pub(super) memory: Reservation,
}

impl Received {
    /// Pays for `bytes` more.
    ///
    /// # Errors
    /// When there is no memory.
    pub(super) fn pay(&mut self, bytes: usize) -> Result<(), ServiceError> {
        Ok(self.memory.grow(bytes)?)
    }
}

impl BodyLimits {
    /// The same when few connections are left.
    pub(super) fn crowded(&self) -> Self {
        Self {
            timeout: self.timeout.min(CROWDED_TIME),
            remedy: "try again when fewer connections are open",
            ..self.clone()
        }
    }

    /// Reads a body to its end.
    ///
    /// # Errors
    /// When it is too long, late, cannot be decompressed, or there is no memory for it.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        body: &mut Body,
        deadline: Option<Instant>,
    ) -> Result<Received, ServiceError> {
        let encoding = match headers.get(CONTENT_ENCODING) {
            None => None,
            Some(name) => Encoding::named(name.as_bytes())?,
        };
        let length = headers.get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        // Refused before it is read: a client that waits for `100 Continue` sends none of it.
        self.check(length.unwrap_or(0))?;
        let late_at = Instant::now() + self.timeout;
        let end = deadline.map_or(late_at, |deadline| deadline.min(late_at));
        let received = tokio::time::timeout_at(end.into(), self.collect(body)).await;
        let received = received.map_err(|_| match deadline {
            Some(deadline) if deadline <= late_at => SchedulerError::DeadlineExceeded.into(),
            _ => ServiceError::Late {
                seconds: self.timeout.as_secs(),
                remedy: self.remedy,
            },
        })??;
        match encoding {
            None => Ok(received),
            // The body may be megabytes of zeros.
            Some(encoding) => {
                let limits = self.clone();
                let unpack = move || limits.decompress(encoding, &received);
                let unpacked = tokio::task::spawn_blocking(unpack).await;
                unpacked.map_err(|_| ServiceError::Panicked)?
            }
        }
    }

    /// Reads what is left of a refused body, within bounds, and keeps nothing of it: a client that still
    /// sends when its connection is closed would not see why.
    pub(super) async fn discard(&self, headers: &HeaderMap, body: &mut Body) {
        if headers.contains_key(EXPECT) {
            return;
        }
        let mut left = self.max_bytes;
        let rest = async {
            while let Some(Ok(frame)) = body.frame().await {
                let read = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(read) {
                    Some(less) => left = less,
                    None => return,
                }
            }
        };
        // Whoever takes longer is not waited for.
        let _ = tokio::time::timeout(DISCARD_TIME, rest).await;
    }

    fn check(&self, length: usize) -> Result<(), ServiceError> {
        if length <= self.max_bytes {
            return Ok(());
        }
        let max = self.max_bytes;
        let text = format!("expected at most {max} bytes, got {length} or more");
        Err(ServiceError::TooLong(text))
    }

    async fn collect(&self, body: &mut Body) -> Result<Received, ServiceError> {
        let mut received = Received {
            bytes: Vec::new(),
            memory: self.memory.reservation(),
        };
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| ServiceError::Unreadable(error.to_string()))?;
            if let Ok(piece) = frame.into_data() {
                self.append(&mut received, &piece)?;
            }
        }
        Ok(received)
    }

    fn append(&self, received: &mut Received, piece: &[u8]) -> Result<(), ServiceError> {
        let length = received.bytes.len() + piece.len();
        self.check(length)?;
        received.pay(COPIES * piece.len())?;
        received.bytes.extend_from_slice(piece);
        Ok(())
    }

    fn decompress(
        &self,
        encoding: Encoding,
        compressed: &Received,
    ) -> Result<Received, ServiceError> {
        let mut received = Received {
            bytes: Vec::new(),
            memory: self.memory.reservation(),
        };
        let append = |piece: &[u8]| self.append(&mut received, piece);
        match encoding.decompress(&compressed.bytes, self.max_bytes, append) {
            Ok(()) => Ok(received),
            Err(DecompressError::Invalid(error)) => {
                Err(ServiceError::Unreadable(error.to_string()))
            }
            Err(DecompressError::Piece(error)) => Err(error),
        }
    }
}
