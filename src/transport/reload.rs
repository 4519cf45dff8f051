//! Values parsed from files, and parsed again when the files change.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use lfbm_process::one_line;
use tokio::sync::watch;
use tokio::task::JoinError;

use crate::telemetry::Metrics;

/// How often the files are looked at. They are small, and content is compared, because a mounted
/// secret changes without a new time stamp of the file's own.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Certificates and tokens are far smaller.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The latest good value.
#[derive(Clone, Debug)]
pub struct Reloaded<T>(watch::Receiver<T>);

impl<T: Clone> Reloaded<T> {
    /// The current value.
    pub fn get(&self) -> T {
        self.0.borrow().clone()
    }
}

/// Makes a value of the contents of `files` now, and again whenever they change, until every clone
/// of the result is dropped. Files that make no value are logged and counted once, and the last
/// good value stays. Files are read on threads that may block: a disk may be slow, or not answer.
///
/// # Errors
/// When the files make no value now.
pub async fn reload<T: Send + Sync + 'static>(
    name: &'static str,
    files: Vec<PathBuf>,
    metrics: Metrics,
    make: impl Fn(&[Vec<u8>]) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<Reloaded<T>> {
    let source = Source {
        files,
        make,
        seen: None,
    };
    let (mut source, made) = source.look().await?;
    let value = made.context("nothing was read")?.with_context(|| {
        let files = source.files.iter().map(|file| file.display().to_string());
        let files = files.collect::<Vec<_>>().join(", ");
        format!("{files} cannot be used for {name}")
    })?;
    metrics.expect_reloads(name);
    let (sender, receiver) = watch::channel(value);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(POLL_INTERVAL) => {}
            }
            let made;
            (source, made) = match source.look().await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::error!(name, %error, "cannot be reloaded any more");
                    return;
                }
            };
            let Some(made) = made else { continue };
            metrics.observe_reload(name, made.is_ok());
            match made {
                Ok(value) => {
                    sender.send_replace(value);
                    tracing::info!(name, "reloaded");
                }
                Err(error) => tracing::error!(
                    name,
                    error = one_line(error.as_ref()),
                    "cannot be reloaded; the old one stays"
                ),
            }
        }
    });
    Ok(Reloaded(receiver))
}

type Contents = Result<Vec<Vec<u8>>, String>;

/// Files, and what is made of them.
struct Source<F> {
    files: Vec<PathBuf>,
    make: F,
    /// Contents at the last poll.
    seen: Option<Contents>,
}

impl<F> Source<F> {
    /// Itself again, and what the files make if they have changed.
    async fn look<T>(mut self) -> Result<(Self, Option<anyhow::Result<T>>), JoinError>
    where
        T: Send + 'static,
        F: Fn(&[Vec<u8>]) -> anyhow::Result<T> + Send + 'static,
    {
        tokio::task::spawn_blocking(move || {
            let now: Contents = self.files.iter().map(|file| read_one(file)).collect();
            let made = (self.seen.as_ref() != Some(&now)).then(|| match &now {
                Ok(contents) => (self.make)(contents),
                Err(error) => Err(anyhow::anyhow!("{error}")),
            });
            self.seen = Some(now);
            (self, made)
        })
        .await
    }
}

fn read_one(file: &Path) -> Result<Vec<u8>, String> {
    let failed = |error| format!("{}: {error}", file.display());
    let size_bytes = fs::metadata(file).map_err(failed)?.len();
    if size_bytes > MAX_FILE_BYTES {
        return Err(format!(
            "{}: expected at most {MAX_FILE_BYTES} bytes, found {size_bytes}",
            file.display()
        ));
    }
    fs::read(file).map_err(failed)
}
