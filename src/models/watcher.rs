//! When to look for new bundles.

use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Models;
use crate::shutdown::Stop;

/// SIGHUP, from the call on; until then it ends the process.
///
/// # Errors
/// When the system does not let it be caught.
pub fn hangup() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Polls `models` every `interval`, and at SIGHUP, which also tries refused bundles again, until `stop`.
pub async fn watch(
    models: Arc<Models>,
    interval: Option<Duration>,
    mut hangup: Signal,
    mut stop: Stop,
) {
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
            () = stop.comes() => return,
        };
        let (models, stopped) = (Arc::clone(&models), stop.clone());
        // Loading reads files and compiles graphs.
        let poll = tokio::task::spawn_blocking(move || models.poll(retry, &stopped));
        if let Err(error) = poll.await {
            tracing::error!(%error, "a look for bundles failed");
        }
    }
}
