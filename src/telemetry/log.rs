use std::io::IsTerminal;

use anyhow::Context;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The log on standard error. `filter` has the syntax of `tracing_subscriber`'s `EnvFilter`, such
/// as `info` or `lfbm_server=debug,tonic=warn`.
pub(super) fn layer<S>(format: LogFormat, filter: &str) -> anyhow::Result<impl Layer<S> + use<S>>
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
{
    let filter = EnvFilter::try_new(filter).with_context(|| {
        format!("log is {filter:?}, expected a level, such as info, or levels of targets, such as info,tonic=debug")
    })?;
    let log = tracing_subscriber::fmt::layer()
        // It would panic where standard error cannot be written to: the disk of the log is full.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    let log = match format {
        LogFormat::Auto if !terminal => log.json().flatten_event(true).boxed(),
        LogFormat::Json => log.json().flatten_event(true).boxed(),
        LogFormat::Auto | LogFormat::Text => log.with_ansi(terminal).boxed(),
    };
    Ok(log.with_filter(filter))
}
