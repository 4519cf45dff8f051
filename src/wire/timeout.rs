use std::time::Duration;

use hyper::HeaderMap;
use tonic::metadata::MetadataMap;

use crate::request::{Violation, cut};

const GRPC_TIMEOUT: &str = "grpc-timeout";

/// How long the caller waits, from the header `grpc-timeout`: up to eight digits and a unit, as
/// the gRPC protocol over HTTP/2 has it.
///
/// # Errors
/// When the header is there and has another form.
pub fn timeout(metadata: &MetadataMap) -> Result<Option<Duration>, Violation> {
    let Some(value) = metadata.get(GRPC_TIMEOUT) else {
        return Ok(None);
    };
    value
        .to_str()
        .ok()
        .and_then(parse)
        .map(Some)
        .ok_or_else(|| {
            let got = String::from_utf8_lossy(value.as_bytes());
            let reason = format!(
                "expected 1 to 8 digits and one of H, M, S, m, u, n, got {:?}",
                cut(&got)
            );
            Violation::new(GRPC_TIMEOUT, reason)
        })
}

/// The same of a request's headers; one of another form is for [`timeout`] to name.
pub fn timeout_in(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(GRPC_TIMEOUT)?.to_str().ok()?)
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let count: u64 = is_number.then(|| digits.parse().ok())??;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit_and_nothing_else() {
        for (text, expected) in [
            ("2H", Some(Duration::from_secs(7200))),
            ("3M", Some(Duration::from_secs(180))),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("250m", Some(Duration::from_millis(250))),
            ("7u", Some(Duration::from_micros(7))),
            ("0n", Some(Duration::ZERO)),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("+1S", None),
            ("1.5S", None),
            ("10", None),
            ("1\u{e9}", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn an_absent_header_is_no_deadline_and_a_wrong_one_is_named() {
        let mut metadata = MetadataMap::new();
        assert_eq!(timeout(&metadata), Ok(None));
        metadata.insert(GRPC_TIMEOUT, "soon".parse().unwrap());
        assert_eq!(timeout(&metadata).unwrap_err().field, GRPC_TIMEOUT);
    }
}
