//! Finds complete files that are not done yet, on a thread of its own.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lfbm_images::folder;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::events::{Change, Events};
use super::settling::Settling;
use super::version::{Id, Stamp, Version};

/// Found, and not taken yet; the search waits when there are more.
const MAX_FOUND: usize = 64;
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Where and how to look.
pub(super) struct Search {
    /// The folder, with all below.
    pub(super) folder: PathBuf,
    /// The output file, which is no image; it may lie in the folder.
    pub(super) output: PathBuf,
    /// How long a file must stay the same.
    pub(super) settle: Duration,
    /// From one look at the whole folder to the next.
    pub(super) rescan: Duration,
}

/// Versions that were found and are not done after all: they may be found again.
#[derive(Clone, Default)]
pub(super) struct GivenBack(Arc<Mutex<Vec<Version>>>);

impl GivenBack {
    pub(super) fn add(&self, version: Version) {
        let mut versions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        versions.push(version);
    }

    fn take(&self) -> Vec<Version> {
        let mut versions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *versions)
    }
}

/// Begins to search; every version that is not in `done` comes once.
///
/// # Errors
/// When the folder cannot be read, or no thread can be started.
pub(super) fn start(
    search: Search,
    done: HashSet<Id>,
    given_back: GivenBack,
) -> io::Result<Receiver<Version>> {
    fs::read_dir(&search.folder)?;
    let (sender, receiver) = channel(MAX_FOUND);
    let finder = Finder {
        settling: Settling::new(search.settle),
        search,
        known: done,
        given_back,
        sender,
    };
    thread::Builder::new()
        .name("finder".to_owned())
        .spawn(move || finder.run())?;
    Ok(receiver)
}

/// Nobody takes what is found.
struct Ended;

struct Finder {
    search: Search,
    /// What is done, under way, or no image.
    known: HashSet<Id>,
    settling: Settling,
    given_back: GivenBack,
    sender: Sender<Version>,
}

impl Finder {
    fn run(mut self) {
        // First the events: what comes while the folder is read is found twice rather than never.
        let events = Events::of(&self.search.folder);
        let wait = (self.search.settle / 4).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        let mut trouble = None;
        let mut next_scan = Instant::now();
        let mut last_offer = Instant::now();
        loop {
            for version in self.given_back.take() {
                self.known.remove(&version.id());
                self.look(&self.search.folder.join(&version.path));
            }
            if events.were_lost() {
                self.settling.forget_writers();
                next_scan = Instant::now();
            }
            if Instant::now() >= next_scan {
                let error = self.scan().err().map(|error| error.to_string());
                if error.is_some() && error != trouble {
                    let reason = error.as_deref().unwrap_or_default();
                    eprintln!("lfbm: {}: {reason}", self.search.folder.display());
                }
                trouble = error;
                next_scan = Instant::now() + self.search.rescan;
            }
            let patience = if self.settling.is_empty() {
                LONGEST_WAIT.min(next_scan.saturating_duration_since(Instant::now()))
            } else {
                wait
            };
            let change = events.next(patience);
            // Events that wait may say that somebody writes a file; but there may always be one that waits.
            let offer = change.is_none() || last_offer.elapsed() >= LONGEST_WAIT;
            let mut taken = change.map_or(Ok(()), |change| self.take(&change, &mut next_scan));
            if offer && taken.is_ok() {
                taken = self.offer_settled();
                last_offer = Instant::now();
            }
            if taken.is_err() || self.sender.is_closed() {
                return;
            }
        }
    }

    /// Looks at the whole folder.
    fn scan(&mut self) -> io::Result<()> {
        let found = folder::list(&self.search.folder)?;
        for path in found.images {
            self.look(&path);
        }
        Ok(())
    }

    fn take(&mut self, change: &Change, next_scan: &mut Instant) -> Result<(), Ended> {
        let (Change::Complete(path) | Change::Written(path) | Change::Created(path)) = change;
        if !self.may_be_image(path) {
            return Ok(());
        }
        if path.is_dir() {
            // Of many folders that come together, files are looked for once.
            *next_scan = (*next_scan).min(Instant::now() + self.search.settle);
            return Ok(());
        }
        match change {
            Change::Complete(path) => {
                self.settling.remove(path);
                match stamp(path) {
                    Some(stamp) => self.offer(path, stamp),
                    None => Ok(()),
                }
            }
            Change::Written(path) => {
                self.look(path);
                self.settling.written(path);
                Ok(())
            }
            Change::Created(path) => {
                self.look(path);
                Ok(())
            }
        }
    }

    fn may_be_image(&self, path: &Path) -> bool {
        path.strip_prefix(&self.search.folder)
            .is_ok_and(|relative| {
                let mut names = relative.components();
                !names.any(|name| folder::is_hidden(Path::new(name.as_os_str())))
            })
            && !folder::is_made(path)
            && path != self.search.output
    }

    /// Waits for a file to be complete, unless it is known like this.
    fn look(&mut self, path: &Path) {
        if path == self.search.output {
            return;
        }
        let Some(stamp) = stamp(path) else {
            self.settling.remove(path);
            return;
        };
        match self.version(path, stamp) {
            Some(version) if !self.known.contains(&version.id()) => {
                self.settling.found(path, stamp, Instant::now());
            }
            _ => self.settling.remove(path),
        }
    }

    fn offer_settled(&mut self) -> Result<(), Ended> {
        for path in self.settling.due(Instant::now()) {
            match stamp(&path) {
                Some(stamp) if self.settling.is_unchanged(&path, stamp) => {
                    self.settling.remove(&path);
                    self.offer(&path, stamp)?;
                }
                _ => self.look(&path),
            }
        }
        Ok(())
    }

    /// Hands on a complete file, unless it is known or no image; waits while nobody takes it.
    fn offer(&mut self, path: &Path, stamp: Stamp) -> Result<(), Ended> {
        let Some(version) = self.version(path, stamp) else {
            return Ok(());
        };
        if !self.known.insert(version.id()) || folder::left_out(path).is_some() {
            return Ok(());
        }
        self.sender.blocking_send(version).map_err(|_| Ended)
    }

    fn version(&self, path: &Path, stamp: Stamp) -> Option<Version> {
        let path = path.strip_prefix(&self.search.folder).ok()?.to_path_buf();
        Some(Version { path, stamp })
    }
}

/// The stamp of a regular file; `None` if it is missing or cannot be seen (without permission for its folder,
/// say), so that a later look tries again.
fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    file.is_file().then(|| Stamp::of(&file))
}
