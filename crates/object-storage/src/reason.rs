//! What a store's error says, in one line and without what may be a secret: signatures are in queries, passwords in
//! addresses, and S3 repeats session tokens in the bodies of its answers.

use std::error::Error;
use std::iter::successors;

use object_store::client::{HttpError, HttpErrorKind};

use crate::Problem;

const MAX_CHARS: usize = 300;
/// How `object_store` begins to say which request failed; the method and the URL follow.
const REQUEST: &str = "Error performing ";
/// How it says what the store answered; the answer's body follows.
const STATUS: &str = "status code: ";
/// How answers end that say that there is no such bucket or container.
const NO_BUCKET: [&str; 2] = ["(NoSuchBucket)", "(ContainerNotFound)"];
/// What the client says of an address without TLS.
const NO_HTTP: &str = "URL scheme is not allowed";
/// Where machines in a cloud ask for their credentials.
const METADATA: [&str; 2] = ["//169.254.", "//metadata.google.internal"];

pub(crate) fn problem(error: &object_store::Error) -> Problem {
    match error {
        object_store::Error::NotFound { .. } => Problem::NotFound,
        _ => {
            let reason = reason(error);
            match NO_BUCKET.iter().any(|code| reason.ends_with(code)) {
                true => Problem::NotFound,
                false => Problem::Store(reason),
            }
        }
    }
}

pub(crate) fn reason(error: &object_store::Error) -> String {
    let text = error.to_string();
    let asked = address(&text).unwrap_or("the store");
    let last = causes(error).last().map(ToString::to_string);
    let last = one_line(&last.unwrap_or_default());
    let status = status(&text);
    if METADATA.iter().any(|host| asked.contains(host)) {
        let why = status.unwrap_or(last);
        return format!("the environment has no credentials, and {asked} gives none: {why}");
    }
    if let Some(status) = status {
        return match &status[..3] {
            "401" | "403" => format!("{asked} refuses access: {status}"),
            _ => format!("{asked} answers {status}"),
        };
    }
    let Some(http) = causes(error).find_map(|cause| cause.downcast_ref::<HttpError>()) else {
        // The first cause: what is before it names the kind of store.
        let cause = error.source().map_or(text.clone(), ToString::to_string);
        return one_line(&cause);
    };
    match http.kind() {
        _ if last == NO_HTTP => {
            format!(
                "expected an address with https, got {asked}; AWS_ALLOW_HTTP=true, or AZURE_ALLOW_HTTP, allows it"
            )
        }
        HttpErrorKind::Connect => format!("no connection to {asked}: {last}"),
        HttpErrorKind::Timeout => format!("{asked} does not answer in time"),
        _ => format!("the exchange with {asked} broke off: {last}"),
    }
}

/// The error, and what caused it, down to the first cause.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

/// Scheme, host and port of the URL that was asked.
fn address(text: &str) -> Option<&str> {
    let (_, request) = text.rsplit_once(REQUEST)?;
    let url = request.split_whitespace().nth(1)?;
    let start = url.find("://")? + 3;
    let end = url[start..]
        .find(['/', '?'])
        .map_or(url.len(), |end| start + end);
    match url[..end].rfind('@') {
        // Of an address with a password, what is behind it.
        Some(at) => Some(&url[at + 1..end]),
        None => Some(&url[..end]),
    }
}

/// The status that a store answered, and the code in its body.
fn status(text: &str) -> Option<String> {
    let (_, answer) = text.rsplit_once(STATUS)?;
    let end = answer.find(':').unwrap_or(answer.len());
    let status = answer[..end].trim();
    let is_status = status.len() >= 3 && status.bytes().take(3).all(|byte| byte.is_ascii_digit());
    let status: String = is_status.then(|| status.chars().take(MAX_CHARS).collect())?;
    let code = answer
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"));
    let is_code = |code: &str| {
        (1..=64).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    Some(match code {
        Some((code, _)) if is_code(code) => format!("{status} ({code})"),
        _ => status,
    })
}

/// A text without the queries and passwords of URLs, on one line that is not long.
fn one_line(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        let word = word.split_once('?').map_or(word, |(url, _)| url);
        match (word.find("://"), word.rfind('@')) {
            (Some(scheme), Some(at)) if at > scheme => {
                format!("{}{}", &word[..scheme + 3], &word[at + 1..])
            }
            _ => word.to_owned(),
        }
    });
    let line = words.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn generic(text: &str) -> object_store::Error {
        object_store::Error::Generic {
            store: "S3",
            source: text.into(),
        }
    }

    #[test]
    fn an_answer_is_told_by_its_status_and_its_code() {
        let answer = |status: &str, body: &str| {
            let text = format!(
                "Error performing list request: Error performing GET \
                 http://user:s3cret@store:9000/bucket?X-Amz-Signature=s3cret in 2ms - Server \
                 returned non-2xx status code: {status}: {body}"
            );
            reason(&generic(&text))
        };
        assert_eq!(
            answer(
                "400 Bad Request",
                "<Code>ExpiredToken</Code><Token-0>s3cret</Token-0>"
            ),
            "store:9000 answers 400 Bad Request (ExpiredToken)"
        );
        assert_eq!(
            answer(
                "403 Forbidden",
                "<Code>SignatureDoesNotMatch</Code><A>s3cret</A>"
            ),
            "store:9000 refuses access: 403 Forbidden (SignatureDoesNotMatch)"
        );
        assert_eq!(
            answer("503 Service Unavailable", "s3cret"),
            "store:9000 answers 503 Service Unavailable"
        );
        assert_eq!(
            reason(&generic(
                "Error performing PUT http://169.254.169.254/latest/api/token in 1ms - Server returned \
                 non-2xx status code: 403 Forbidden: "
            )),
            "the environment has no credentials, and http://169.254.169.254 gives none: 403 Forbidden"
        );
        assert_eq!(
            answer("500 Internal Server Error", "<Code>a s3cret</Code>"),
            "store:9000 answers 500 Internal Server Error"
        );
    }

    #[test]
    fn a_store_that_does_not_answer_is_told_by_its_address() {
        for (kind, url, expected) in [
            (
                HttpErrorKind::Connect,
                "https://store/a?sig=s3cret",
                "no connection to https://store: refused",
            ),
            (
                HttpErrorKind::Timeout,
                "https://store/a?sig=s3cret",
                "https://store does not answer in time",
            ),
            (
                HttpErrorKind::Interrupted,
                "https://store/a?sig=s3cret",
                "the exchange with https://store broke off: refused",
            ),
            (
                HttpErrorKind::Connect,
                "http://169.254.169.254/latest/api/token",
                "the environment has no credentials, and http://169.254.169.254 gives none: refused",
            ),
        ] {
            let http = HttpError::new(kind, io::Error::other("refused"));
            #[derive(Debug, thiserror::Error)]
            #[error("Error performing GET {url} in 1ms - {source}")]
            struct Failed {
                url: &'static str,
                source: HttpError,
            }
            let source = Failed { url, source: http };
            let error = object_store::Error::Generic {
                store: "S3",
                source: Box::new(source),
            };
            assert_eq!(reason(&error), expected);
        }
    }

    #[test]
    fn any_other_error_is_one_short_line_without_secrets() {
        let error =
            generic("no such\n file: (https://me:s3cret@a.example/b?sig=s3cret&x=1) at all");
        assert_eq!(reason(&error), "no such file: (https://a.example/b at all");
        let long = reason(&generic(&"ä".repeat(1000)));
        assert_eq!(long.chars().count(), MAX_CHARS + 1);
    }
}
