//! The audit log: one JSON line for every image that was to be scored.
//!
//! Requests put records into a bounded queue; a thread of its own makes lines of them and writes them to a
//! file, which it rotates. A request never waits for the file. What happens when the queue is full is a
//! setting: the record is dropped and counted, or the request is refused before it is worked on.

mod error;
mod file;
mod key;
mod log;
mod record;
mod settings;
mod writer;

pub use error::{AuditError, NoRoom};
pub use key::ImageDigest;
pub use log::{AuditLog, Line};
pub use record::{Answer, Record, Verdict};
pub use settings::AuditSettings;
