use std::io;
use std::path::PathBuf;

/// Why a data set cannot be loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file has the wrong content.
    #[error("{}: {reason}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What was expected and what came.
        reason: String,
    },
    /// Images of a folder cannot be used.
    #[error(
        "{} of {count} images cannot be read; repair them, or leave them out with --skip-damaged:{}",
        unreadable.len(),
        listed(unreadable)
    )]
    Unreadable {
        /// Which files, and why.
        unreadable: Vec<(PathBuf, String)>,
        /// How many images there are.
        count: usize,
    },
    /// Images are smaller than the centre crop.
    #[error(
        "{} of {count} images are smaller than the --crop, of this fit or of the model's; lower it, or take these \
         files out of the folder:{}",
        too_small.len(),
        listed(too_small)
    )]
    TooSmall {
        /// Which files, and why.
        too_small: Vec<(PathBuf, String)>,
        /// How many images there are.
        count: usize,
    },
    /// The files were not found.
    #[error(
        "{file} was not found in {}; get it from {origin} and name its folder with --data-dir or \
         LFBM_DATA_DIR",
        searched.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    Missing {
        /// The first missing file.
        file: String,
        /// The folders that were searched.
        searched: Vec<PathBuf>,
        /// Where the data set is published.
        origin: &'static str,
    },
    /// The files were not found and cannot be downloaded.
    #[error(
        "MNIST is not here and could not be downloaded ({url}: {reason}); name the folder of its \
         IDX files with --data-dir or LFBM_DATA_DIR"
    )]
    Download {
        /// The URL.
        url: String,
        /// Why the download failed.
        reason: String,
    },
    /// Options contradict each other or the data.
    #[error("{0}")]
    Usage(String),
}

/// The number of files that a message lists.
const LISTED: usize = 1000;

/// Files and reasons, a line each.
fn listed(files: &[(PathBuf, String)]) -> String {
    let mut lines: String = files
        .iter()
        .take(LISTED)
        .map(|(path, reason)| format!("\n  {}: {reason}", path.display()))
        .collect();
    if files.len() > LISTED {
        lines += &format!("\n  and {} more", files.len() - LISTED);
    }
    lines
}

impl DataError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| DataError::Io { path, source }
    }

    pub(super) fn invalid(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        DataError::Invalid {
            path: path.into(),
            reason: reason.into(),
        }
    }
}
