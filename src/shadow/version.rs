//! Which version is a shadow, and of how many images.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A version of a model that scores a share of the images that other versions of it score, written
/// `MODEL:VERSION=SHARE`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShadowVersion {
    /// The model's name.
    pub model: String,
    /// The version, above 0.
    pub version: u64,
    /// The share, above 0 and at most 1.
    pub share: f64,
}

/// A text that is no [`ShadowVersion`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected MODEL:VERSION=SHARE, such as parts:2=0.1, with a version above 0 and a share above 0 and at \
     most 1; got {0:?}"
)]
pub struct NotAShadow(String);

impl ShadowVersion {
    /// Whether it is that version of that model.
    pub fn is(&self, model: &str, version: u64) -> bool {
        self.model == model && self.version == version
    }
}

impl FromStr for ShadowVersion {
    type Err = NotAShadow;

    fn from_str(text: &str) -> Result<Self, NotAShadow> {
        let parse = || {
            let (id, share) = text.rsplit_once('=')?;
            let (model, version) = id.rsplit_once(':')?;
            let (version, share) = (version.parse().ok()?, share.parse().ok()?);
            let holds = !model.is_empty() && version > 0 && share > 0.0 && share <= 1.0;
            holds.then(|| Self {
                model: model.to_owned(),
                version,
                share,
            })
        };
        parse().ok_or_else(|| NotAShadow(text.to_owned()))
    }
}

impl fmt::Display for ShadowVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}={}", self.model, self.version, self.share)
    }
}

impl TryFrom<String> for ShadowVersion {
    type Error = NotAShadow;

    fn try_from(text: String) -> Result<Self, NotAShadow> {
        text.parse()
    }
}

impl From<ShadowVersion> for String {
    fn from(shadow: ShadowVersion) -> Self {
        shadow.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_shadow_is_read_as_it_was_written() {
        for text in ["parts:2=0.1", "a.b-c_d:18446744073709551615=1"] {
            let shadow: ShadowVersion = text.parse().unwrap();
            assert_eq!(shadow.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_shadow_is_refused() {
        for text in [
            "",
            "parts",
            "parts:2",
            "parts=0.1",
            ":2=0.1",
            "parts:0=0.1",
            "parts:latest=0.1",
            "parts:2=0",
            "parts:2=-0.1",
            "parts:2=1.1",
            "parts:2=NaN",
            "parts:2=10%",
        ] {
            let error = text.parse::<ShadowVersion>().unwrap_err().to_string();
            assert!(error.contains("MODEL:VERSION=SHARE"), "{text}: {error}");
        }
    }
}
