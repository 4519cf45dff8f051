//! What requests see of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Code;

use super::file::RotatingFile;
use super::key::Key;
use super::writer::{Entry, Writer};
use super::{Answer, AuditError, AuditSettings, ImageDigest, NoRoom, Record};
use crate::telemetry::{AuditMetrics, Metrics};

/// How long the end waits for requests whose connections were closed.
const ABORT_PATIENCE: Duration = Duration::from_millis(500);
/// How long the end waits for the file.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);

/// The audit log. Clones share it.
#[derive(Clone)]
pub struct AuditLog(Arc<Shared>);

struct Shared {
    key: Key,
    /// Whether a line must have room before its request is worked on.
    required: bool,
    queue: mpsc::Sender<Entry>,
    writer: Thread,
    failing: Arc<AtomicBool>,
    metrics: AuditMetrics,
    /// Lines whose requests are in flight.
    open: TaskTracker,
}

impl AuditLog {
    /// Opens the file that the settings name, if they name one, and starts the thread that writes it. Blocks
    /// while a pipe has no reader.
    ///
    /// # Errors
    /// When the file cannot be written, or the key's file is none.
    pub fn open(settings: &AuditSettings, metrics: &Metrics) -> Result<Option<Self>, AuditError> {
        let Some(path) = &settings.audit_log else {
            return Ok(None);
        };
        let key = Key::read(settings.audit_key_file.as_deref())?;
        let (max_bytes, keep) = (settings.audit_log_max_bytes, settings.audit_log_keep);
        let file = RotatingFile::open(path, max_bytes, keep).map_err(|source| AuditError::Log {
            path: path.clone(),
            source,
        })?;
        let (queue, records) = mpsc::channel(settings.audit_log_queue);
        let failing = Arc::<AtomicBool>::default();
        let metrics = metrics.audit.clone();
        let writer = Writer {
            file,
            queue: records,
            key_id: key.id.clone(),
            failing: Arc::clone(&failing),
            metrics: metrics.clone(),
            waiting: Vec::new(),
        };
        let writer = thread::Builder::new()
            .name("audit-log".to_owned())
            .spawn(|| writer.run())
            .map_err(AuditError::Thread)?;
        Ok(Some(Self(Arc::new(Shared {
            key,
            required: settings.audit_log_required,
            queue,
            writer: writer.thread().clone(),
            failing,
            metrics,
            open: TaskTracker::new(),
        }))))
    }

    /// The digest of an image's bytes as they came.
    pub fn digest(&self, image: &[u8]) -> ImageDigest {
        self.0.key.digest(image)
    }

    /// Begins the line of a request.
    ///
    /// # Errors
    /// When every request has to have a line, and there is no room for this one or the file cannot be
    /// written.
    pub fn begin(&self, record: Record) -> Result<Line, NoRoom> {
        let shared = &self.0;
        let room = if shared.required {
            if shared.failing.load(Ordering::Relaxed) {
                return Err(NoRoom);
            }
            let room = shared.queue.clone().try_reserve_owned();
            Some(room.map_err(|_| {
                shared.writer.unpark();
                NoRoom
            })?)
        } else {
            None
        };
        Ok(Line {
            log: self.clone(),
            record: Some(record),
            room,
            started: Instant::now(),
            _open: shared.open.token(),
        })
    }

    /// Returns when the lines of all requests that have ended are on the disk, or cannot be written in time.
    pub async fn flush(&self) {
        let Shared {
            open,
            queue,
            writer,
            ..
        } = &*self.0;
        open.close();
        if tokio::time::timeout(ABORT_PATIENCE, open.wait())
            .await
            .is_err()
        {
            let requests = open.len();
            tracing::warn!(requests, "given up without a line of the audit log");
        }
        let flushed = async {
            let (done, flushed) = oneshot::channel();
            // Neither fails while the writer's thread runs.
            let _ = queue.send(Entry::Flush(done)).await;
            writer.unpark();
            let _ = flushed.await;
        };
        if tokio::time::timeout(FLUSH_PATIENCE, flushed).await.is_err() {
            let lines = queue.max_capacity() - queue.capacity();
            tracing::error!(
                lines,
                "the audit log cannot be written; at least so many lines are lost"
            );
        }
    }
}

/// The line of a request in flight; one that is dropped before its end was given up by its client.
pub struct Line {
    log: AuditLog,
    /// `None` once it is in the queue.
    record: Option<Record>,
    room: Option<OwnedPermit<Entry>>,
    started: Instant,
    _open: TaskTrackerToken,
}

impl Line {
    /// Ends with an answer.
    pub fn answered(mut self, answer: Answer) {
        if let Some(record) = &mut self.record {
            record.answer = Some(answer);
        }
        self.write(Code::Ok);
    }

    /// Ends without an answer.
    pub fn failed(mut self, code: Code) {
        self.write(code);
    }

    fn write(&mut self, code: Code) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        record.code = code;
        record.latency = self.started.elapsed();
        let entry = Entry::Record(Box::new(record));
        let shared = &self.log.0;
        match self.room.take() {
            Some(room) => drop(room.send(entry)),
            None if shared.queue.try_send(entry).is_err() => shared.metrics.dropped.inc(),
            None => {}
        }
        if shared.queue.capacity() <= shared.queue.max_capacity() / 2 {
            shared.writer.unpark();
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.write(Code::Cancelled);
    }
}
