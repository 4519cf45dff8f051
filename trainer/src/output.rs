//! What commands print.

use std::fmt::Display;
use std::io::Write;

use anyhow::Context;

/// Prints a line; a reader that is gone is an error, not a panic.
///
/// # Errors
/// When standard output is closed.
pub fn print_line(line: impl Display) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output is closed")
}
