use std::fmt;
use std::str::FromStr;

use crate::{Key, Problem, StorageError};

/// The longest name of a bucket that any of the stores allows.
const MAX_BUCKET_BYTES: usize = 222;

/// An object, or the prefix of objects, in a bucket.
///
/// Its text is `s3://BUCKET/KEY`, `gs://BUCKET/KEY` or `az://CONTAINER/KEY`. The key is taken as it is: nothing in
/// it is percent-decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    service: Service,
    bucket: String,
    key: Key,
}

/// Who keeps a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    S3,
    Google,
    Azure,
}

impl Service {
    fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }
}

impl Place {
    /// Whether a text is a URL, so that it names no file. A file of such a name can be given as `./NAME`.
    pub fn is_url(text: &str) -> bool {
        text.split_once("://").is_some_and(|(scheme, _)| {
            !scheme.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric())
        })
    }

    /// The key: empty for the whole bucket.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Another object of the same bucket.
    #[must_use]
    pub fn with_key(&self, key: Key) -> Self {
        Self {
            key,
            ..self.clone()
        }
    }

    /// The last part of the key, or the bucket where the key is empty.
    pub fn name(&self) -> &str {
        self.key.filename().unwrap_or(&self.bucket)
    }

    pub(crate) fn service(&self) -> Service {
        self.service
    }

    pub(crate) fn bucket(&self) -> &str {
        &self.bucket
    }

    pub(crate) fn error(&self, problem: Problem) -> StorageError {
        let place = self.to_string();
        StorageError { place, problem }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.service.scheme(), self.bucket)?;
        if self.key.is_root() {
            return Ok(());
        }
        write!(f, "/{}", self.key)
    }
}

impl FromStr for Place {
    type Err = StorageError;

    fn from_str(text: &str) -> Result<Self, StorageError> {
        let not_a_place = || StorageError {
            place: without_secrets(text),
            problem: Problem::NotAPlace,
        };
        let (scheme, rest) = text.split_once("://").ok_or_else(not_a_place)?;
        let service = match scheme {
            "s3" => Service::S3,
            "gs" => Service::Google,
            "az" => Service::Azure,
            _ => return Err(not_a_place()),
        };
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_bucket = (1..=MAX_BUCKET_BYTES).contains(&bucket.len()) && bucket.chars().all(plain);
        // What some programs write there is settings and signatures.
        if !is_bucket || key.contains(['?', '#']) {
            return Err(not_a_place());
        }
        let key = Key::parse(key).map_err(|_| not_a_place())?;
        let bucket = bucket.to_owned();
        Ok(Self {
            service,
            bucket,
            key,
        })
    }
}

/// A text for a message, unless it may hold a password or a signature.
fn without_secrets(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) if rest.contains(['?', '#', '@']) => format!("{scheme}://…"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_service_a_bucket_and_a_key() {
        for (text, shown, key, name) in [
            (
                "s3://bucket/models/one/",
                "s3://bucket/models/one",
                "models/one",
                "one",
            ),
            ("gs://my_bucket.a", "gs://my_bucket.a", "", "my_bucket.a"),
            ("gs://bucket/", "gs://bucket", "", "bucket"),
            (
                "az://container/a%20b",
                "az://container/a%20b",
                "a%20b",
                "a%20b",
            ),
        ] {
            let place: Place = text.parse().unwrap();
            assert_eq!(place.to_string(), shown);
            assert_eq!(place.key().as_ref(), key);
            assert_eq!(place.name(), name);
            assert_eq!(place.to_string().parse::<Place>().unwrap(), place);
        }
    }

    #[test]
    fn what_is_no_place_is_refused_without_its_secrets() {
        for text in [
            "",
            "/models",
            "s3://",
            "s3:///key",
            "S3://bucket/a",
            "http://bucket/a",
            "file:///models",
            "s3://bucket/a//b",
            "s3://bucket/../b",
            "s3://bucket/a\nb",
            "s3://buck et/a",
            "s3://user:s3cret@bucket/a",
            "s3://bucket/a?sig=s3cret",
            "s3://bucket?secret=s3cret",
            "s3://bucket/a#s3cret",
        ] {
            let error = text.parse::<Place>().unwrap_err();
            assert_eq!(error.problem, Problem::NotAPlace, "{text}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_file_is_no_url() {
        for url in ["s3://bucket", "http://bucket"] {
            assert!(Place::is_url(url), "{url}");
        }
        for file in ["models", "/models", "./s3://bucket", "C:/a", "://a"] {
            assert!(!Place::is_url(file), "{file}");
        }
    }
}
