//! What the system says of changes in a folder. Nobody relies on it: network file systems say nothing, and
//! any system forgets what it cannot keep.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

/// More than these are not kept; a look at the folder makes up for them.
const MAX_EVENTS: usize = 4096;

/// Something happened to a file or folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Whoever wrote it closed it, or it came by a rename.
    Complete(PathBuf),
    /// Somebody writes it.
    Written(PathBuf),
    /// A folder, perhaps, whose files may have come before it was watched.
    Created(PathBuf),
}

/// Changes in a folder and all below.
pub(super) struct Events {
    changes: Receiver<Change>,
    lost: Arc<AtomicBool>,
    /// Ends when dropped. `None` where the system does not tell.
    _watcher: Option<RecommendedWatcher>,
}

impl Events {
    /// Of `folder`; without any, and with a warning, where the system refuses to tell.
    pub(super) fn of(folder: &Path) -> Self {
        let (sender, changes) = sync_channel(MAX_EVENTS);
        let lost = Arc::new(AtomicBool::new(false));
        let watcher = watch(folder, sender, Arc::clone(&lost))
            .inspect_err(|error| {
                eprintln!(
                    "lfbm: {}: the system does not tell of changes ({error}); new files are found every \
                     --rescan-s",
                    folder.display()
                );
            })
            .ok();
        Self {
            changes,
            lost,
            _watcher: watcher,
        }
    }

    /// The next change, or `None` after a time without one.
    pub(super) fn next(&self, patience: Duration) -> Option<Change> {
        match self.changes.recv_timeout(patience) {
            Ok(change) => Some(change),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(patience);
                None
            }
        }
    }

    /// Whether changes were lost since the last call.
    pub(super) fn were_lost(&self) -> bool {
        self.lost.swap(false, Ordering::Relaxed)
    }
}

fn watch(
    folder: &Path,
    sender: SyncSender<Change>,
    lost: Arc<AtomicBool>,
) -> notify::Result<RecommendedWatcher> {
    let handler = move |event: notify::Result<Event>| {
        let Ok(event) = event else {
            lost.store(true, Ordering::Relaxed);
            return;
        };
        if event.need_rescan() {
            lost.store(true, Ordering::Relaxed);
        }
        for change in changes(event) {
            if sender.try_send(change).is_err() {
                lost.store(true, Ordering::Relaxed);
            }
        }
    };
    let mut watcher = RecommendedWatcher::new(handler, Config::default())?;
    watcher.watch(folder, RecursiveMode::Recursive)?;
    Ok(watcher)
}

fn changes(event: Event) -> impl Iterator<Item = Change> {
    let change: Option<fn(PathBuf) -> Change> = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write))
        | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => Some(Change::Complete),
        EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any) => Some(Change::Written),
        EventKind::Create(_) => Some(Change::Created),
        _ => None,
    };
    let paths = event.paths.into_iter();
    paths.filter_map(move |path| change.map(|change| change(path)))
}
