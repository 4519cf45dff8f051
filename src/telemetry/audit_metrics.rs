use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::metrics::register;

/// What becomes of the lines of the audit log.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    /// Lines in the file.
    pub written: IntCounter,
    /// Lines that there was no room for.
    pub dropped: IntCounter,
    /// Attempts to write or rename the file that failed.
    pub failures: IntCounter,
}

impl AuditMetrics {
    /// # Errors
    /// When a metric's description is not valid.
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let lines = Opts::new(
            "lfbm_audit_lines_total",
            "Lines of the audit log that were written, and that were dropped for want of room.",
        );
        let lines = register(registry, IntCounterVec::new(lines, &["result"])?)?;
        Ok(Self {
            written: lines.with_label_values(&["written"]),
            dropped: lines.with_label_values(&["dropped"]),
            failures: register(
                registry,
                IntCounter::new(
                    "lfbm_audit_write_failures_total",
                    "Attempts to write the audit log that failed; its lines wait meanwhile.",
                )?,
            )?,
        })
    }
}
