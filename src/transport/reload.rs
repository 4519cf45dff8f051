//! Values that are made of files, and made again when the files change.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use lfbm_bundle::console::one_line;
use tokio::sync::watch;

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
    /// The value of now.
    pub fn get(&self) -> T {
        self.0.borrow().clone()
    }
}

/// Makes a value of the contents of `files` now, and again whenever they change, until every clone
/// of the result is dropped. Files that make no value are logged and counted once, and the last
/// good value stays.
///
/// # Errors
/// When the files make no value now.
pub fn reload<T: Send + Sync + 'static>(
    name: &'static str,
    files: Vec<PathBuf>,
    metrics: Metrics,
    make: impl Fn(&[Vec<u8>]) -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<Reloaded<T>> {
    let make = move |contents: &Contents| match contents {
        Ok(contents) => make(contents),
        Err(error) => Err(anyhow::anyhow!("{error}")),
    };
    let mut seen = read(&files);
    let value = make(&seen).with_context(|| {
        let files = files.iter().map(|file| file.display().to_string());
        let files = files.collect::<Vec<_>>().join(", ");
        format!("{files} cannot be used for {name}")
    })?;
    metrics.expect_reloads(name);
    let (sender, receiver) = watch::channel(value);
    tokio::spawn(async move {
        let mut interval = tokio::time::interval(POLL_INTERVAL);
        loop {
            tokio::select! {
                () = sender.closed() => return,
                _ = interval.tick() => {}
            }
            let now = read(&files);
            if now == seen {
                continue;
            }
            let made = make(&now);
            seen = now;
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

fn read(files: &[PathBuf]) -> Contents {
    files.iter().map(|file| read_one(file)).collect()
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
