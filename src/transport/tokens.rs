//! Bearer tokens.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{bail, ensure};
use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::{Reloaded, reload};
use crate::telemetry::Metrics;

/// The tokens that open the server. Clones share them.
#[derive(Clone, Debug)]
pub struct Tokens(Reloaded<Arc<[Token]>>);

/// A token, as far as the server keeps it.
#[derive(Debug)]
struct Token {
    digest: TokenDigest,
    label: Arc<str>,
}

/// SHA-256. Digests have one length, so comparing them tells nothing of a token's.
type TokenDigest = [u8; 32];

/// Who sends a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The label of the token that the request carries; `None` where the server asks for none.
    pub label: Option<Arc<str>>,
}

impl Sender {
    /// The sender of a request to a server that has these tokens, if any; `None` if it has to carry one and
    /// does not.
    pub fn of(tokens: Option<&Tokens>, headers: &HeaderMap) -> Option<Self> {
        let label = match tokens {
            None => None,
            Some(tokens) => Some(tokens.label(headers)?),
        };
        Some(Self { label })
    }
}

impl Tokens {
    /// The tokens in `file`, which metrics call `name`: one a line, `TOKEN` or `TOKEN # LABEL`; lines that are empty or begin with `#`
    /// are none. They follow the file.
    ///
    /// # Errors
    /// When the file holds no token now, or a label is too long or not printable.
    pub async fn open(name: &'static str, file: PathBuf, metrics: Metrics) -> anyhow::Result<Self> {
        let tokens = reload(name, vec![file], metrics, |contents| {
            parse(&contents.concat())
        })
        .await?;
        Ok(Self(tokens))
    }

    /// Whether `authorization: Bearer TOKEN` is there, with one of the tokens. Takes the same time
    /// for every token.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        self.label(headers).is_some()
    }

    /// The label of the token in `authorization: Bearer TOKEN`, if it is one of these. Takes the same time
    /// for every token.
    pub fn label(&self, headers: &HeaderMap) -> Option<Arc<str>> {
        let value = headers.get(AUTHORIZATION)?.as_bytes();
        let (scheme, token) = value.split_at_checked(BEARER.len())?;
        if !scheme.eq_ignore_ascii_case(BEARER) {
            return None;
        }
        find(&self.0.get(), &digest(token))
    }
}

const BEARER: &[u8] = b"Bearer ";
const MAX_LABEL_BYTES: usize = 64;
/// The index of a token that is not there; a file of tokens has fewer.
const NO_TOKEN: u64 = u64::MAX;

fn parse(file: &[u8]) -> anyhow::Result<Arc<[Token]>> {
    let lines = file.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines = lines
        .zip(1..)
        .filter(|(line, _)| !line.is_empty() && !line.starts_with(b"#"));
    let tokens: Arc<[Token]> = lines
        .map(|(line, number)| parse_line(line, number))
        .collect::<anyhow::Result<_>>()?;
    ensure!(!tokens.is_empty(), "expected a token a line, found none");
    Ok(tokens)
}

fn parse_line(line: &[u8], number: u32) -> anyhow::Result<Token> {
    let is_mark = |pair: &[u8]| matches!(pair, [b' ' | b'\t', b'#']);
    let end = line.windows(2).position(is_mark).unwrap_or(line.len());
    let (token, label) = line.split_at(end);
    let label = label.trim_ascii().strip_prefix(b"#").unwrap_or_default();
    let label = match std::str::from_utf8(label.trim_ascii()) {
        Ok("") => format!("line {number}"),
        Ok(label) if label.len() <= MAX_LABEL_BYTES && !label.contains(char::is_control) => {
            label.to_owned()
        }
        // It may be a token by mistake.
        _ => bail!(
            "line {number}: expected a label of up to {MAX_LABEL_BYTES} bytes of printable text after #"
        ),
    };
    Ok(Token {
        digest: digest(token.trim_ascii_end()),
        label: label.into(),
    })
}

fn digest(token: &[u8]) -> TokenDigest {
    Sha256::digest(token).into()
}

/// The label of a token, if it is one of `tokens`.
fn find(tokens: &[Token], token: &TokenDigest) -> Option<Arc<str>> {
    let mut found = NO_TOKEN;
    for (index, known) in (0..).zip(tokens) {
        found.conditional_assign(&index, known.digest.ct_eq(token));
    }
    let index = usize::try_from(found).ok()?;
    tokens.get(index).map(|token| Arc::clone(&token.label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_a_token_a_line_and_its_label() {
        let file = b"# operators\nalpha\r\n\n  beta gamma \ndelta  # CI of line 3\nepsilon\t#\n";
        let tokens = parse(file).unwrap();
        assert_eq!(tokens.len(), 4);
        for (token, label) in [
            ("alpha", Some("line 2")),
            ("beta gamma", Some("line 4")),
            ("delta", Some("CI of line 3")),
            ("epsilon", Some("line 6")),
            ("delta  # CI of line 3", None),
            ("beta", None),
            ("alph", None),
            ("", None),
        ] {
            let found = find(&tokens, &digest(token.as_bytes()));
            assert_eq!(found.as_deref(), label, "{token:?}");
        }
        assert!(parse(b"\n# nothing\n").is_err());
        let long = "a".repeat(65);
        for label in [b"\x01", &b"\xff"[..], long.as_bytes()] {
            let refused = parse(&[b"alpha # ", label].concat()).unwrap_err();
            let refused = refused.to_string();
            assert!(refused.starts_with("line 1: expected a label"), "{refused}");
            assert!(!refused.contains("aa"), "{refused}");
        }
    }
}
