//! What the programs of this workspace share as processes: lines that they print, the words of errors, variables of
//! their environment.
#![forbid(unsafe_code)]

pub mod environment;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write};

/// An error and its causes on one line. Many an error here tells its cause itself; one that was told is
/// not told again.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line = format!("{line}: {text}");
        }
        next = cause.source();
    }
    line
}

/// Prints a line; a reader that is gone is an error, not a panic.
///
/// # Errors
/// When standard output is closed.
pub fn print_line(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}").map_err(|error| {
        let text = format!("standard output is closed: {error}");
        io::Error::new(error.kind(), text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        source: Option<io::Error>,
    }

    #[test]
    fn every_cause_is_told_once() {
        let told = |text| {
            let source = Some(io::Error::other("disk full"));
            one_line(&Told { text, source })
        };
        assert_eq!(told("a.png: disk full"), "a.png: disk full");
        assert_eq!(told("a.png"), "a.png: disk full");
        let alone = Told {
            text: "a.png",
            source: None,
        };
        assert_eq!(one_line(&alone), "a.png");
    }
}
