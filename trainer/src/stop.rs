//! SIGINT, SIGTERM and SIGHUP: at the first the process ends with what is useful kept, at the second at once.

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

/// How often a process that is to end looks whether what is under way has come to its end.
const LOOK: Duration = Duration::from_millis(10);
/// What shells add to the number of the signal that a process ended by.
const EXIT_CODE_BASE: i32 = 128;

/// The number of the first signal; 0 before.
static RECEIVED: AtomicI32 = AtomicI32::new(0);
/// How many [`Hold`]s there are.
static HOLDS: AtomicUsize = AtomicUsize::new(0);
/// What the user is told who ends the process now.
static KEPT: Mutex<String> = Mutex::new(String::new());
/// Processes that end with this one.
static CHILDREN: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A signal came, and what was under way did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped by {}", name(*.0))]
pub struct Stopped(i32);

impl Stopped {
    /// Ends the process with 129, 130 or 143, without what is not whole; says what is kept.
    pub fn end(self) {
        // Whoever comes second waits for the guard until the process is gone.
        let _changing = lfbm_atomic_files::remove_all();
        let kept = lock(&KEPT);
        let separator = if kept.is_empty() { "" } else { "; " };
        // Whether anybody reads it or not.
        let _ = writeln!(io::stderr(), "trainer: {self}{separator}{kept}");
        signal_hook::low_level::exit(EXIT_CODE_BASE + self.0);
    }
}

fn name(signal: i32) -> impl fmt::Display {
    signal_hook::low_level::signal_name(signal).unwrap_or("a signal")
}

/// Lets signals end the process in order: what is not whole is removed, and what holds the process
/// comes to its end first.
///
/// # Errors
/// When the system refuses.
pub fn catch_signals() -> io::Result<()> {
    // A file that grows beyond the limit of the shell is an error of the write, as a full disk is.
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

/// The signal that came, if one did.
pub fn requested() -> Option<Stopped> {
    match RECEIVED.load(Ordering::SeqCst) {
        0 => None,
        signal => Some(Stopped(signal)),
    }
}

/// Says `kept` to a user who ends the process from now on.
pub fn keep(kept: impl Into<String>) {
    *lock(&KEPT) = kept.into();
}

/// While there is one, the first signal does not end the process: its holder looks at [`requested`]
/// and comes to an end soon.
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

/// A process that gets the signals that this one gets.
#[derive(Debug)]
pub struct Follower(Option<Pid>);

impl Follower {
    /// Starts one, in a process group of its own: Ctrl-C reaches it once, from here.
    ///
    /// # Errors
    /// When it cannot be started; with [`Stopped`] within when a signal came.
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
