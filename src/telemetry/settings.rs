use clap::Args;
use lfbm_settings::{Group, Range};
use serde::{Deserialize, Serialize};

use super::LogFormat;

/// What the server says about itself.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Log, metrics and traces")]
pub struct TelemetrySettings {
    /// How the log looks
    #[arg(
        long,
        env = "LFBM_LOG_FORMAT",
        value_enum,
        default_value_t = LogFormat::Auto
    )]
    pub log_format: LogFormat,
    /// What is logged, such as info or lfbm_server=debug
    #[arg(long, env = "LFBM_LOG", default_value = "info")]
    pub log: String,
    /// Scores, per model, that drift is computed over
    #[arg(
        long,
        env = "LFBM_DRIFT_WINDOW",
        default_value_t = 1000,
        hide_short_help = true
    )]
    pub drift_window: usize,
    /// Where an OpenTelemetry collector listens for OTLP over gRPC, http://HOST:PORT [default: none]
    #[arg(long, env = "LFBM_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// Share of the traces that are exported, from 0 to 1
    #[arg(
        long,
        env = "LFBM_TRACE_SAMPLING_RATIO",
        default_value_t = 1.0,
        hide_short_help = true
    )]
    pub trace_sampling_ratio: f64,
}

impl Group for TelemetrySettings {
    fn ranges(&self) -> Vec<Range> {
        vec![
            Range::whole("drift_window", self.drift_window as u64, 1..=100_000),
            Range::share("trace_sampling_ratio", self.trace_sampling_ratio),
        ]
    }
}
