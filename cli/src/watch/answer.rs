//! From a version of a file to its line.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use lfbm_process::one_line;
use lfbm_wire::ScoreResponse;
use serde_json::{Map, Value};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::journal::MAX_LINE_BYTES;
use super::trouble::Trouble;
use super::version::{Stamp, Version};
use crate::inputs::encoded;
use crate::mask::Masks;
use crate::score::{Scorer, score_object};
use crate::status::{code, delay, describe, failure};

/// Attempts at an image with which the server fails.
const ATTEMPTS_AT_AN_IMAGE: u32 = 4;

/// Scores versions and words their lines.
pub(super) struct Answers<'a> {
    pub(super) folder: PathBuf,
    pub(super) scorer: Scorer<'a>,
    pub(super) masks: Masks,
    pub(super) trouble: Trouble,
}

impl Answers<'_> {
    /// The line of a version; `None` if the file is another by now, or gone.
    ///
    /// # Errors
    /// When the server refuses the parameters of every image.
    pub(super) async fn to(&self, version: &Version) -> anyhow::Result<Option<String>> {
        let (path, stamp) = (self.folder.join(&version.path), version.stamp);
        let read = tokio::task::spawn_blocking(move || read(&path, stamp)).await?;
        let line = match read {
            Ok(Some(file)) => match self.score(file).await? {
                Ok(reply) => score_line(version, &reply),
                Err(error) => error_line(version, error),
            },
            Ok(None) => return Ok(None),
            Err(error) if is_passing(&error) => {
                eprintln!(
                    "lfbm: {}: {error}; it is read again later",
                    version.path.display()
                );
                return Ok(None);
            }
            Err(error) => error_line(version, error.to_string()),
        };
        Ok(Some(line))
    }

    /// Scores an image, however long the server is away; the inner error is the image's.
    async fn score(&self, file: Vec<u8>) -> anyhow::Result<Result<ScoreResponse, String>> {
        let mask = match self.masks.of(&file) {
            Ok(mask) => mask,
            Err(error) => return Ok(Err(one_line(error.as_ref()))),
        };
        let request = self.scorer.request(encoded(file), mask);
        let mut attempt = 0;
        loop {
            let status = match self.scorer.attempt(&request).await {
                Ok(reply) => {
                    self.trouble.end();
                    return Ok(Ok(reply));
                }
                Err(status) => status,
            };
            match blame(&status) {
                Blame::Image => return Ok(Err(describe(&status))),
                Blame::Unclear if attempt + 1 >= ATTEMPTS_AT_AN_IMAGE => {
                    return Ok(Err(describe(&status)));
                }
                Blame::Parameters => return Err(failure(status)),
                Blame::Server | Blame::Unclear => self.trouble.tell(&describe(&status)),
            }
            tokio::time::sleep(delay(&status, attempt)).await;
            attempt = attempt.saturating_add(1);
        }
    }
}

/// What an error says of the next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    /// The image will never have a score.
    Image,
    /// No image will ever have one.
    Parameters,
    /// It may have one later.
    Server,
    /// The server fails, perhaps with this image only.
    Unclear,
}

/// Whose error it is.
pub(super) fn blame(status: &Status) -> Blame {
    match code(status) {
        Code::InvalidArgument | Code::OutOfRange => {
            let details = status.get_error_details();
            let violations = details.bad_request().map(|bad| &bad.field_violations[..]);
            let of_image = |field: &str| field.starts_with("image") || field.starts_with("mask");
            match violations.unwrap_or_default() {
                [] => Blame::Image,
                violations
                    if violations
                        .iter()
                        .any(|violation| !of_image(&violation.field)) =>
                {
                    Blame::Parameters
                }
                _ => Blame::Image,
            }
        }
        Code::FailedPrecondition if is_divergence(status) => Blame::Image,
        Code::FailedPrecondition | Code::Unimplemented => Blame::Parameters,
        Code::Internal | Code::Unknown | Code::DataLoss => Blame::Unclear,
        // Tokens and models change while a server runs.
        _ => Blame::Server,
    }
}

/// Whether the chains of one image left the finite values; those of the next need not.
fn is_divergence(status: &Status) -> bool {
    let details = status.get_error_details();
    let info = details.error_info();
    info.is_some_and(|info| info.reason == "CHAINS_DIVERGED")
}

/// The bytes of a file, unless it is another than it was, or becomes another meanwhile.
fn read(path: &Path, stamp: Stamp) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let is_same = || file.metadata().map(|now| Stamp::of(&now) == stamp);
    if !is_same()? {
        return Ok(None);
    }
    let limit = lfbm_images::MAX_FILE_BYTES;
    if stamp.size_bytes > limit {
        let size = stamp.size_bytes;
        let reason = format!("expected a file of at most {limit} bytes, got {size}");
        return Err(io::Error::new(ErrorKind::FileTooLarge, reason));
    }
    let bytes = lfbm_images::read_from(&file, limit)?;
    let whole = bytes.len() as u64 == stamp.size_bytes && is_same()?;
    Ok(whole.then_some(bytes))
}

/// Whether a file may be read later without being written again.
fn is_passing(error: &io::Error) -> bool {
    const TOO_MANY_OPEN: [i32; 2] = [
        rustix::io::Errno::MFILE.raw_os_error(),
        rustix::io::Errno::NFILE.raw_os_error(),
    ];
    matches!(
        error.kind(),
        ErrorKind::StaleNetworkFileHandle
            | ErrorKind::TimedOut
            | ErrorKind::Interrupted
            | ErrorKind::OutOfMemory
            | ErrorKind::ResourceBusy
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
    ) || error
        .raw_os_error()
        .is_some_and(|number| TOO_MANY_OPEN.contains(&number))
}

fn score_line(version: &Version, reply: &ScoreResponse) -> String {
    let name = version.path.display().to_string();
    let line = line(version, score_object(&name, reply));
    if line.len() as u64 > MAX_LINE_BYTES {
        let reason = format!("the reply has more than {MAX_LINE_BYTES} bytes");
        return error_line(version, reason);
    }
    line
}

fn error_line(version: &Version, error: String) -> String {
    let name = version.path.display().to_string();
    let fields = [("image", name), ("error", error)];
    let fields = fields.map(|(name, value)| (name.to_owned(), Value::from(value)));
    line(version, fields.into_iter().collect())
}

fn line(version: &Version, mut fields: Map<String, Value>) -> String {
    fields.insert("id".to_owned(), version.id().to_string().into());
    fields.insert("size_bytes".to_owned(), version.stamp.size_bytes.into());
    fields.insert("modified".to_owned(), version.stamp.modified().into());
    let mut line = Value::Object(fields).to_string();
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn only_errors_of_an_image_count_as_its_answer() {
        let violation = |field: &str| {
            let details = ErrorDetails::with_bad_request_violation(field, "expected another");
            Status::with_error_details(Code::InvalidArgument, "", details)
        };
        let status = |code| Status::new(code, "");
        let diverged = ErrorDetails::with_error_info("CHAINS_DIVERGED", "lfbm", []);
        let diverged = Status::with_error_details(Code::FailedPrecondition, "", diverged);
        for (status, expected) in [
            (violation("image.encoded"), Blame::Image),
            (violation("mask"), Blame::Image),
            (violation("inference.chains"), Blame::Parameters),
            (status(Code::InvalidArgument), Blame::Image),
            (status(Code::FailedPrecondition), Blame::Parameters),
            (diverged, Blame::Image),
            (status(Code::Unavailable), Blame::Server),
            (status(Code::ResourceExhausted), Blame::Server),
            (status(Code::DeadlineExceeded), Blame::Server),
            (status(Code::Unauthenticated), Blame::Server),
            (status(Code::NotFound), Blame::Server),
            (status(Code::Internal), Blame::Unclear),
        ] {
            assert_eq!(blame(&status), expected, "{status:?}");
        }
    }

    #[test]
    fn a_file_that_is_another_by_now_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, "abc").unwrap();
        let stamp = Stamp::of(&std::fs::metadata(&path).unwrap());
        assert_eq!(read(&path, stamp).unwrap().unwrap(), b"abc");
        std::fs::write(&path, "abcd").unwrap();
        assert!(read(&path, stamp).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(read(&path, stamp).unwrap().is_none());
    }
}
