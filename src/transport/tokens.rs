//! Bearer tokens.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::ensure;
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Reloaded, reload};
use crate::telemetry::Metrics;

/// The tokens that open the server. Clones share them.
#[derive(Clone, Debug)]
pub struct Tokens(Reloaded<Arc<[TokenDigest]>>);

/// SHA-256. Digests have one length, so comparing them tells nothing of a token's.
type TokenDigest = [u8; 32];

impl Tokens {
    /// The tokens in `file`, one a line; lines that are empty or begin with `#` are none. They
    /// follow the file.
    ///
    /// # Errors
    /// When the file holds no token now.
    pub async fn open(file: PathBuf, metrics: Metrics) -> anyhow::Result<Self> {
        let tokens = reload("auth tokens", vec![file], metrics, |contents| {
            parse(&contents.concat())
        })
        .await?;
        Ok(Self(tokens))
    }

    /// Whether `authorization: Bearer TOKEN` is there, with one of the tokens. Takes the same time
    /// for every token.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(token) = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(BEARER.len())?;
            scheme.eq_ignore_ascii_case(BEARER).then_some(token)
        }) else {
            return false;
        };
        is_known(&self.0.get(), &digest(token))
    }
}

const BEARER: &[u8] = b"Bearer ";

fn parse(file: &[u8]) -> anyhow::Result<Arc<[TokenDigest]>> {
    let tokens: Arc<[TokenDigest]> = file
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
        .map(digest)
        .collect();
    ensure!(!tokens.is_empty(), "expected a token a line, found none");
    Ok(tokens)
}

fn digest(token: &[u8]) -> TokenDigest {
    Sha256::digest(token).into()
}

fn is_known(tokens: &[TokenDigest], token: &TokenDigest) -> bool {
    tokens
        .iter()
        .fold(Choice::from(0), |known, one| known | one.ct_eq(token))
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_a_token_a_line() {
        let tokens = parse(b"# operators\nalpha\r\n\n  beta \n").unwrap();
        assert_eq!(tokens.len(), 2);
        for (token, known) in [
            ("alpha", true),
            ("beta", true),
            ("alph", false),
            ("", false),
        ] {
            assert_eq!(
                is_known(&tokens, &digest(token.as_bytes())),
                known,
                "{token:?}"
            );
        }
        assert!(parse(b"\n# nothing\n").is_err());
    }
}
