//! When to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Waits for SIGTERM or SIGINT; the signal's name.
///
/// # Errors
/// When the system does not let signals be caught.
pub async fn signalled() -> std::io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// Ends the process at once, with failure, at the next SIGTERM or SIGINT: somebody does not want
/// to wait for the drain.
pub async fn abandon_at_next_signal() {
    if let Ok(signal) = signalled().await {
        tracing::warn!(signal, "stopping at once");
        std::process::exit(1);
    }
}
