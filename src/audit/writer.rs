//! The thread that writes lines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{io, thread};

use tokio::sync::{mpsc, oneshot};

use super::Record;
use super::file::RotatingFile;
use crate::telemetry::AuditMetrics;

/// Records that are written together at most.
const BATCH: usize = 256;
/// From a write to the next, unless the queue is half full before: a thread that wakes for every line takes a core
/// from the posterior steps so often that it costs 6 % of their throughput on two cores.
const GATHERING: Duration = Duration::from_millis(50);
/// From a write that failed to the next attempt.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// What is in the queue.
pub(super) enum Entry {
    /// A line to write.
    Record(Box<Record>),
    /// To be answered when all lines before it are on the disk.
    Flush(oneshot::Sender<()>),
}

/// Writes what is in the queue until nobody can put anything in.
pub(super) struct Writer {
    pub(super) file: RotatingFile,
    pub(super) queue: mpsc::Receiver<Entry>,
    pub(super) key_id: String,
    /// Whether the last attempt to write failed.
    pub(super) failing: Arc<AtomicBool>,
    pub(super) metrics: AuditMetrics,
    /// Lines that are not written yet.
    pub(super) waiting: Vec<u8>,
}

impl Writer {
    pub(super) fn run(mut self) {
        let (mut entries, mut line) = (Vec::with_capacity(BATCH), Vec::new());
        while self.queue.blocking_recv_many(&mut entries, BATCH) > 0 {
            for entry in entries.drain(..) {
                match entry {
                    Entry::Record(record) => {
                        line.clear();
                        record.write(&self.key_id, &mut line);
                        if self.file.is_full(self.waiting.len(), line.len()) {
                            self.insist(|writer| {
                                writer.write()?;
                                writer.file.rotate()
                            });
                        }
                        self.waiting.extend_from_slice(&line);
                    }
                    Entry::Flush(done) => {
                        self.insist(|writer| {
                            writer.write()?;
                            writer.file.sync()
                        });
                        // Who asked may be gone.
                        let _ = done.send(());
                    }
                }
            }
            self.insist(Self::write);
            if self.queue.len() < BATCH {
                // Whoever fills the queue or wants it on the disk ends this.
                thread::park_timeout(GATHERING);
            }
        }
    }

    /// Tries until it works: what cannot be written stays, and the queue fills. Gives up what is left when
    /// nobody can put anything into the queue any more.
    fn insist(&mut self, attempt: impl Fn(&mut Self) -> io::Result<()>) {
        while let Err(error) = attempt(self) {
            self.metrics.failures.inc();
            if !self.failing.swap(true, Ordering::Relaxed) {
                tracing::error!(%error, "the audit log cannot be written; trying again");
            }
            if self.queue.is_closed() {
                self.metrics.dropped.inc_by(lines(&self.waiting));
                self.waiting.clear();
                return;
            }
            thread::sleep(RETRY_DELAY);
        }
        if self.failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the audit log is written again");
        }
    }

    /// Writes the lines that wait; the rest of a line that was cut stays first.
    fn write(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            match self.file.write(&self.waiting) {
                Ok(count) => {
                    self.metrics.written.inc_by(lines(&self.waiting[..count]));
                    self.waiting.drain(..count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}
