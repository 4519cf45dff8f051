//! SIGINT, SIGTERM and SIGHUP: the first ends the process in order and keeps useful work, the second at
//! once.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

/// How often an ending process checks whether its work is finished.
const LOOK: Duration = Duration::from_millis(10);
/// The offset of exit codes for signals, by the convention of shells.
const EXIT_CODE_BASE: i32 = 128;

/// The number of the first signal; 0 before.
static RECEIVED: AtomicI32 = AtomicI32::new(0);
/// The number of [`Hold`]s.
static HOLDS: AtomicUsize = AtomicUsize::new(0);
/// The message for a user who ends the process now.
static KEPT: Mutex<String> = Mutex::new(String::new());
/// Child processes that receive the same signals.
static CHILDREN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A signal interrupted the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped by {}", name(*.0))]
pub struct Stopped(i32);

impl Stopped {
    /// Ends the process with 129, 130 or 143: removes incomplete output and prints what is kept.
    pub fn end(self) {
        // Whoever comes second waits for the guard until the process is gone.
        let _changing = lfbm_atomic_files::remove_all();
        let kept = lock(&KEPT);
        let separator = if kept.is_empty() { "" } else { "; " };
        // Errors of standard error are ignored.
        let _ = writeln!(io::stderr(), "trainer: {self}{separator}{kept}");
        signal_hook::low_level::exit(EXIT_CODE_BASE + self.0);
    }
}

fn name(signal: i32) -> impl fmt::Display {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}

/// Lets signals end the process in order: [`Hold`]s are waited for, and incomplete output is removed.
///
/// # Errors
/// When the system refuses.
pub fn catch_signals() -> io::Result<()> {
    // A file that exceeds the shell's size limit becomes an error of the write, like a full disk.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    // A terminal that is closed sends it; a command under `nohup` goes on.
    if !is_ignored(SIGHUP)? {
        signals.add_signal(SIGHUP)?;
    }
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let Some(first) = signals.forever().next() else {
                return;
            };
            RECEIVED.store(first, Ordering::SeqCst);
            signal_children(first);
            let mut next = None;
            while HOLDS.load(Ordering::SeqCst) > 0 && next.is_none() {
                thread::sleep(LOOK);
                next = signals.pending().next();
            }
            if let Some(second) = next {
                signal_children(second);
            }
            Stopped(first).end();
        })?;
    Ok(())
}

/// Whether whoever started the process lets it ignore a signal.
fn is_ignored(signal: i32) -> io::Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or_default();
    Ok(ignored >> (signal - 1) & 1 == 1)
}

/// The received signal, if any.
pub fn requested() -> Option<Stopped> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(Stopped(signal)),
    }
}

/// Sets the message for a user who ends the process from now on.
pub fn keep(kept: impl Into<String>) {
    *lock(&KEPT) = kept.into();
}

/// While one exists, the first signal does not end the process: its holder checks [`requested`] and ends
/// soon.
#[derive(Debug)]
pub struct Hold(());

/// Holds the process.
pub fn hold() -> Hold {
    HOLDS.fetch_add(1, Ordering::SeqCst);
    Hold(())
}

impl Drop for Hold {
    fn drop(&mut self) {
        HOLDS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A child process that receives the signals of this one.
#[derive(Debug)]
pub struct Follower(Option<Pid>);

impl Follower {
    /// Starts one in a process group of its own, so that Ctrl-C reaches it only once, from here.
    ///
    /// # Errors
    /// When it cannot be started; the source is [`Stopped`] after a signal.
    pub fn spawn(command: &mut Command) -> io::Result<(Child, Self)> {
        use std::os::unix::process::CommandExt;
        let mut children = lock(&CHILDREN);
        if let Some(stopped) = requested() {
            return Err(io::Error::other(stopped));
        }
        let child = command.process_group(0).spawn()?;
        let pid = Pid::from_child(&child);
        children.push(pid);
        Ok((child, Self(Some(pid))))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        lock(&CHILDREN).retain(|child| Some(*child) != self.0);
    }
}

fn signal_children(signal: i32) {
    for child in &*lock(&CHILDREN) {
        // One that has ended needs none.
        let _ = Signal::from_named_raw(signal).map(|signal| kill_process(*child, signal));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
