//! Which files are complete.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::version::Stamp;

/// A file that somebody is known to write is given this many times as long: its end is an event.
const PATIENCE_WITH_WRITERS: u32 = 30;

/// Files of which no event said that they are complete. One is taken for complete when its size and
/// modification time stay the same for a time.
pub(super) struct Settling {
    settle: Duration,
    waiting: HashMap<PathBuf, Waiting>,
}

struct Waiting {
    stamp: Stamp,
    since: Instant,
    is_written: bool,
}

impl Settling {
    pub(super) fn new(settle: Duration) -> Self {
        Self {
            settle,
            waiting: HashMap::new(),
        }
    }

    /// A look found the file like this.
    pub(super) fn found(&mut self, path: &Path, stamp: Stamp, now: Instant) {
        match self.waiting.get_mut(path) {
            Some(waiting) if waiting.stamp == stamp => {}
            Some(waiting) => (waiting.stamp, waiting.since) = (stamp, now),
            None => {
                let waiting = Waiting {
                    stamp,
                    since: now,
                    is_written: false,
                };
                self.waiting.insert(path.to_path_buf(), waiting);
            }
        }
    }

    /// An event said that somebody writes the file.
    pub(super) fn written(&mut self, path: &Path) {
        if let Some(waiting) = self.waiting.get_mut(path) {
            waiting.is_written = true;
        }
    }

    /// Events were lost: nobody knows who writes.
    pub(super) fn forget_writers(&mut self) {
        for waiting in self.waiting.values_mut() {
            waiting.is_written = false;
        }
    }

    /// The file is complete, or gone.
    pub(super) fn remove(&mut self, path: &Path) {
        self.waiting.remove(path);
    }

    /// The files whose time has passed, as far as the last look tells.
    pub(super) fn due(&self, now: Instant) -> Vec<PathBuf> {
        let mut due: Vec<_> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| {
                let times = if waiting.is_written {
                    PATIENCE_WITH_WRITERS
                } else {
                    1
                };
                now.duration_since(waiting.since) >= self.settle.saturating_mul(times)
            })
            .map(|(path, _)| path.clone())
            .collect();
        due.sort();
        due
    }

    /// Whether the file is as it was when its time began.
    pub(super) fn is_unchanged(&self, path: &Path, stamp: Stamp) -> bool {
        let waiting = self.waiting.get(path);
        waiting.is_some_and(|waiting| waiting.stamp == stamp)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps() -> [Stamp; 2] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        ["a", "ab"].map(|text| {
            std::fs::write(&path, text).unwrap();
            Stamp::of(&std::fs::metadata(&path).unwrap())
        })
    }

    #[test]
    fn a_file_is_complete_when_it_stays_the_same() {
        let [small, large] = stamps();
        let settle = Duration::from_secs(2);
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let path = Path::new("a.png");
        let mut settling = Settling::new(settle);
        settling.found(path, small, at(0));
        settling.found(path, small, at(1));
        assert!(settling.due(at(1)).is_empty());
        assert_eq!(settling.due(at(2)), [path]);
        // It grew meanwhile.
        assert!(!settling.is_unchanged(path, large));
        settling.found(path, large, at(2));
        assert!(settling.due(at(3)).is_empty());
        assert_eq!(settling.due(at(4)), [path]);
        assert!(settling.is_unchanged(path, large));
        settling.remove(path);
        assert!(settling.is_empty());
    }

    #[test]
    fn a_writer_that_is_known_may_pause() {
        let [small, _] = stamps();
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let path = Path::new("a.png");
        let mut settling = Settling::new(Duration::from_secs(2));
        settling.found(path, small, at(0));
        settling.written(path);
        assert!(settling.due(at(59)).is_empty());
        assert_eq!(settling.due(at(60)), [path]);
        settling.forget_writers();
        assert_eq!(settling.due(at(2)), [path]);
    }
}
