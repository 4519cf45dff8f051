//! SIGTERM and SIGINT, and the signal that must not end the process.

use std::io;
use std::sync::Arc;

use signal_hook::consts::SIGXFSZ;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// SIGTERM or SIGINT, from the call of [`Stop::listen`] on. A second one ends the process at once, with
/// failure.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Must be called within a runtime of tokio.
    ///
    /// # Errors
    /// When the system does not let signals be caught.
    pub fn listen() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            let mut next = async || {
                tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                }
            };
            let signal = next().await;
            tracing::info!(signal, "stopping");
            sender.send_replace(true);
            let signal = next().await;
            tracing::warn!(signal, "stopping at once");
            exit(1);
        });
        Ok(Self(receiver))
    }

    /// Whether it came.
    pub fn came(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it comes.
    pub async fn comes(&mut self) {
        // A sender that is gone means the same.
        let _ = self.0.wait_for(|came| *came).await;
    }
}

/// From here on a write that a limit on the size of files refuses is an error of that write, and not the
/// end of the process.
///
/// # Errors
/// When the system does not let signals be caught.
pub fn outlive_file_limits() -> io::Result<()> {
    // Nobody looks at the flag: the signal is caught, and says nothing that the write's error does not.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// Ends the process now, without what libraries do at its end: a thread that is inside ONNX Runtime
/// would find its memory gone.
pub fn exit(code: i32) -> ! {
    signal_hook::low_level::exit(code)
}
