//! Signatures of Standard Webhooks, for which receivers find libraries in most languages
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use std::fs::File;
use std::path::Path;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
const MIN_BYTES: usize = 16;
const MAX_FILE_BYTES: u64 = 64 << 10;

/// A key that signs.
pub(super) struct Secret(Hmac<Sha256>);

impl Secret {
    /// The secret in a file.
    ///
    /// # Errors
    /// When the file cannot be read, or the secret is short or no base64.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let name = || path.display().to_string();
        let file = File::open(path).with_context(name)?;
        let text = lfbm_images::read_from(file, MAX_FILE_BYTES).with_context(name)?;
        Self::parse(&text).with_context(name)
    }

    fn parse(text: &[u8]) -> anyhow::Result<Self> {
        let text = text.trim_ascii();
        let key = match text.strip_prefix(PREFIX.as_bytes()) {
            // The error of the decoder would show a part of the secret.
            Some(encoded) => STANDARD
                .decode(encoded)
                .ok()
                .context("expected base64 after whsec_")?,
            None => text.to_vec(),
        };
        ensure!(
            key.len() >= MIN_BYTES,
            "expected a secret of at least {MIN_BYTES} bytes, got {}; `openssl rand -hex 32` makes one",
            key.len()
        );
        Ok(Self(Hmac::new_from_slice(&key)?))
    }

    /// HMAC-SHA256 of `ID.TIMESTAMP.BODY`, as the header has it; the time is in seconds since 1970.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_the_specification() {
        // The example of the specification's libraries.
        let secret = Secret::parse(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let signed = secret.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_secret_that_anybody_could_guess_is_refused() {
        for text in ["", "short", "whsec_c2hvcnQ=", "whsec_!"] {
            let error = Secret::parse(text.as_bytes()).err().unwrap().to_string();
            assert!(error.starts_with("expected"), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
