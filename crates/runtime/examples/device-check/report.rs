//! What is printed.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

/// A line of the output.
pub trait Row: Serialize {
    /// Whether it is as it should be.
    fn passed(&self) -> bool;
}

/// A model that could not be checked.
#[derive(Serialize)]
struct Failure<'a> {
    model: &'a str,
    error: String,
    passed: bool,
}

/// What was printed so far.
#[derive(Debug, Default)]
pub struct Report {
    failed: bool,
}

impl Report {
    /// Prints a row.
    pub fn row(&mut self, row: &impl Row) -> anyhow::Result<()> {
        self.line(row, row.passed())
    }

    /// Runs the check of a model; an error becomes a row, and the next model has its turn.
    pub fn attempt(
        &mut self,
        model: &str,
        check: impl FnOnce(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Err(error) = check(self) else {
            return Ok(());
        };
        let failure = Failure {
            model,
            error: format!("{error:#}"),
            passed: false,
        };
        self.line(&failure, false)
    }

    fn line(&mut self, row: &impl Serialize, passed: bool) -> anyhow::Result<()> {
        self.failed |= !passed;
        let mut out = io::stdout().lock();
        serde_json::to_writer(&mut out, row)?;
        writeln!(out)?;
        out.flush()?;
        Ok(())
    }

    /// 1 when a row has not passed.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(u8::from(self.failed))
    }
}
