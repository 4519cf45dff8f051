//! When to look for new bundles.

use std::future::{Future, pending};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::Models;

/// Polls `models` every `interval`, and at SIGHUP, which also tries refused bundles again. SIGHUP
/// is caught from the call on, not from the first `await`.
///
/// # Errors
/// When the system does not let the signal be caught.
pub fn watch(
    models: Arc<Models>,
    interval: Option<Duration>,
) -> io::Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            let tick = async {
                match interval {
                    Some(interval) => tokio::time::sleep(interval).await,
                    None => pending().await,
                }
            };
            let retry = tokio::select! {
                () = tick => false,
                _ = hangup.recv() => true,
            };
            let models = Arc::clone(&models);
            // Loading reads files and compiles graphs.
            let poll = tokio::task::spawn_blocking(move || models.poll(retry));
            if let Err(error) = poll.await {
                tracing::error!(%error, "a look for bundles failed");
            }
        }
    })
}
