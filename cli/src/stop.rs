//! SIGINT and SIGTERM: a command ends with what it has so far.

use std::future::Future;
use std::io;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long a command may take to print what it has; one that blocks on a disk or on standard input
/// is ended.
const PATIENCE: Duration = Duration::from_secs(1);

/// The exit code by which shells report a signal.
fn exit_code(signal: SignalKind) -> u8 {
    128 + signal.as_raw_value() as u8
}

/// Whether a signal came.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<Option<u8>>);

impl Stop {
    /// Listens on a thread of its own, which ends the process [`PATIENCE`] after a signal, or at a
    /// second one.
    ///
    /// # Errors
    /// When signal handlers cannot be installed.
    pub(crate) fn listen() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _entered = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        let (sender, receiver) = watch::channel(None);
        let wait = async move {
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv() => exit_code(SignalKind::interrupt()),
                    _ = terminate.recv() => exit_code(SignalKind::terminate()),
                }
            };
            let code = next().await;
            sender.send_replace(Some(code));
            let second = tokio::time::timeout(PATIENCE, next()).await;
            std::process::exit(second.unwrap_or(code).into())
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || runtime.block_on(wait))?;
        Ok(Self(receiver))
    }

    /// The exit code of a command that it ended.
    pub(crate) fn code(&self) -> Option<u8> {
        *self.0.borrow()
    }

    /// Returns once it comes.
    pub(crate) async fn comes(&self) {
        // The thread that sends ends with the process.
        let _ = self.0.clone().wait_for(Option::is_some).await;
    }

    /// What `work` gives, unless a signal comes first.
    ///
    /// # Errors
    /// Those of `work`, and a signal.
    pub(crate) async fn or<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            result = work => result,
            () = self.comes() => bail!("stopped"),
        }
    }
}
