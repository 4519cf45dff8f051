use std::io;
use std::path::PathBuf;

/// Why there is no audit log.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file of the log cannot be written to.
    #[error("--audit-log {}: {source}", path.display())]
    Log {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file of the key cannot be read.
    #[error("--audit-key-file {}: {source}", path.display())]
    Key {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The key is too short, or the file is no key.
    #[error(
        "--audit-key-file {}: expected {least} to {most} bytes, as `openssl rand -hex 32` writes them, \
         got {got}", path.display()
    )]
    KeyLength {
        /// The path of its file.
        path: PathBuf,
        /// The fewest bytes of a key.
        least: usize,
        /// The most bytes of a key.
        most: usize,
        /// The bytes of the file, without white space at its end; one more than the most for all above.
        got: usize,
    },
    /// The system starts no thread.
    #[error("the audit log's thread does not start: {0}")]
    Thread(io::Error),
}

/// The log has to have every line, and has no room for one at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the audit log cannot take a line at the moment, and --audit-log-required refuses requests \
     without one; try again"
)]
pub struct NoRoom;
