use std::io::IsTerminal;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

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

/// Starts the log on standard error. `filter` has the syntax of `tracing_subscriber`'s
/// `EnvFilter`, such as `info` or `lfbm_server=debug,tonic=warn`.
///
/// # Errors
/// When the filter has another syntax, or a log was started before.
pub fn init(format: LogFormat, filter: &str) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(filter)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would panic where standard error cannot be written to: the disk of the log is full.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    let terminal = std::io::stderr().is_terminal();
    let result = match format {
        LogFormat::Auto if !terminal => log.json().flatten_event(true).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Auto | LogFormat::Text => log.with_ansi(terminal).try_init(),
    };
    result.map_err(|error| anyhow::anyhow!(error))
}
