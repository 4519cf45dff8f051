//! How far the webhook lags behind the output.

use std::cell::Cell;

use tokio::sync::watch;

/// The output, as far as it is on the disk.
#[derive(Clone, Copy)]
pub(super) struct Written {
    /// All bytes of it.
    pub(super) bytes: u64,
    /// Lines that were not delivered when the program started, and those since.
    lines: u64,
}

/// Lines that are written and not delivered yet. They lie in the output, so that memory holds one of them.
pub(super) struct Backlog {
    max_lines: u64,
    written: watch::Sender<Written>,
    /// Lines since the program started.
    delivered: watch::Sender<u64>,
    /// Whether it was said that there is no room.
    told: Cell<bool>,
}

impl Backlog {
    /// `lines` of an output of so many bytes wait; without a limit where there is no webhook.
    pub(super) fn new(max_lines: Option<u64>, bytes: u64, lines: u64) -> Self {
        Self {
            max_lines: max_lines.unwrap_or(u64::MAX),
            written: watch::Sender::new(Written { bytes, lines }),
            delivered: watch::Sender::new(0),
            told: Cell::new(false),
        }
    }

    /// So many lines were added; the bytes of all lines now.
    pub(super) fn add(&self, lines: u64, bytes: u64) {
        self.written.send_modify(|written| {
            written.lines += lines;
            written.bytes = bytes;
        });
    }

    /// The next line was delivered.
    pub(super) fn deliver(&self) {
        self.delivered.send_modify(|delivered| *delivered += 1);
    }

    /// Returns once the output has more bytes than these.
    pub(super) async fn longer_than(&self, bytes: u64) {
        let mut written = self.written.subscribe();
        // The sender lives as long as this.
        let _ = written.wait_for(|written| written.bytes > bytes).await;
    }

    /// Returns once there is room for a line; says so if it has to wait.
    pub(super) async fn room(&self) {
        let waiting = |delivered: &u64| self.written.borrow().lines.saturating_sub(*delivered);
        let has_room = |delivered: &u64| waiting(delivered) < self.max_lines;
        let mut delivered = self.delivered.subscribe();
        let now = waiting(&delivered.borrow());
        if now <= self.max_lines / 2 {
            self.told.set(false);
        }
        if now >= self.max_lines && !self.told.replace(true) {
            eprintln!(
                "lfbm: --webhook: {now} lines are not delivered, and --webhook-backlog is {}; no further image \
                 is read until some are",
                self.max_lines
            );
        }
        // The sender lives as long as this.
        let _ = delivered.wait_for(has_room).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn there_is_room_for_as_many_lines_as_the_limit_says() {
        let backlog = Backlog::new(Some(3), 100, 1);
        assert!(backlog.room().now_or_never().is_some());
        backlog.add(2, 160);
        let mut room = pin!(backlog.room());
        assert!(room.as_mut().now_or_never().is_none());
        backlog.deliver();
        assert!(room.now_or_never().is_some());
        assert!(backlog.longer_than(159).now_or_never().is_some());
        assert!(backlog.longer_than(160).now_or_never().is_none());
        let boundless = Backlog::new(None, 0, u64::MAX / 2);
        assert!(boundless.room().now_or_never().is_some());
    }
}
