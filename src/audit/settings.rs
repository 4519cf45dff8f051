use std::path::PathBuf;

use clap::{ArgAction, Args};
use lfbm_settings::{Group, Range, SettingsError};
use serde::{Deserialize, Serialize};

const LEAST_FILE_BYTES: u64 = 4096;
const MOST_KEPT: u64 = 1000;
const MOST_QUEUED: u64 = 1 << 20;

/// Who had which image scored, and how it was judged.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Audit log")]
pub struct AuditSettings {
    /// A file that gets one JSON line for every image that was to be scored; it is created for its owner
    /// alone (mode 0600) [default: none]
    #[arg(long, env = "LFBM_AUDIT_LOG")]
    pub audit_log: Option<PathBuf>,
    /// A file with the key of the images' digests (HMAC-SHA256), 32 bytes or more, read at the start; it
    /// makes digests of several runs and servers comparable [default: a random key for each run]
    #[arg(long, env = "LFBM_AUDIT_KEY_FILE")]
    pub audit_key_file: Option<PathBuf>,
    /// Whether a request is refused with UNAVAILABLE when its line could not be written; otherwise lines
    /// are dropped and counted
    #[arg(
        long,
        env = "LFBM_AUDIT_LOG_REQUIRED",
        default_value_t = false,
        action = ArgAction::Set
    )]
    pub audit_log_required: bool,
    /// Bytes at which the file is renamed to FILE.1, FILE.1 to FILE.2 and so on, and a new one begun
    #[arg(
        long,
        env = "LFBM_AUDIT_LOG_MAX_BYTES",
        default_value_t = 128 << 20,
        hide_short_help = true
    )]
    pub audit_log_max_bytes: u64,
    /// Renamed files that are kept; the oldest goes
    #[arg(
        long,
        env = "LFBM_AUDIT_LOG_KEEP",
        default_value_t = 10,
        hide_short_help = true
    )]
    pub audit_log_keep: u32,
    /// Lines that may wait to be written, of about 400 bytes each; with audit_log_required, the images in
    /// flight count among them
    #[arg(
        long,
        env = "LFBM_AUDIT_LOG_QUEUE",
        default_value_t = 16_384,
        hide_short_help = true
    )]
    pub audit_log_queue: usize,
}

impl Group for AuditSettings {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::whole(
                "audit_log_max_bytes",
                self.audit_log_max_bytes,
                LEAST_FILE_BYTES..=u64::MAX,
            ),
            Range::whole("audit_log_keep", self.audit_log_keep.into(), 1..=MOST_KEPT),
            Range::whole(
                "audit_log_queue",
                self.audit_log_queue as u64,
                1..=MOST_QUEUED,
            ),
        ]
    }
}

impl AuditSettings {
    /// Whether settings of the log come with a log.
    ///
    /// # Errors
    /// When one is set and there is no log.
    pub fn check(&self) -> Result<(), SettingsError> {
        let alone = [
            ("audit_key_file", self.audit_key_file.is_some()),
            ("audit_log_required", self.audit_log_required),
        ];
        match alone.into_iter().find(|(_, is_set)| *is_set) {
            Some((name, _)) if self.audit_log.is_none() => Err(SettingsError::Alone {
                name,
                other: "audit_log",
            }),
            _ => Ok(()),
        }
    }
}
