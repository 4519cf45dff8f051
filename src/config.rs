//! The server's settings: the sum of those that its parts own.

#[cfg(test)]
mod reference;

use std::path::PathBuf;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser};
use lfbm_runtime::{Device, SessionOptions};
use lfbm_settings::{EndpointSettings, Group, Range, SettingsError, Sources};
use serde::{Deserialize, Serialize};

use crate::audit::AuditSettings;
use crate::models::ModelSettings;
use crate::request::RequestSettings;
use crate::scheduler::{BatchSettings, MAX_BATCH_CHAINS, Policy};
use crate::shadow::ShadowSettings;
use crate::telemetry::TelemetrySettings;
use crate::transport::ConnectionSettings;

const HELP: &str = "\
Settings come from the TOML file of --config, then the environment, then flags; later ones win. -h
lists what most servers need, --help all of them.";

/// Why the server cannot use its settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A setting is wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No bundle was named.
    #[error("no bundle to serve; name one with --bundle, LFBM_BUNDLE or in the file of --config")]
    NoBundle,
}

/// Serves bundles that `trainer fit` wrote: gRPC for scores, HTTP for Prometheus.
#[derive(Parser, Clone, Debug, PartialEq)]
#[command(name = "lfbm-server", version, after_help = HELP)]
#[allow(missing_docs)]
pub struct Config {
    #[command(flatten)]
    pub file: FileSettings,
    #[command(flatten)]
    pub models: ModelSettings,
    #[command(flatten)]
    pub endpoint: EndpointSettings,
    #[command(flatten)]
    pub requests: RequestSettings,
    #[command(flatten)]
    pub batches: BatchSettings,
    #[command(flatten)]
    pub connections: ConnectionSettings,
    #[command(flatten)]
    pub process: ProcessSettings,
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
    #[command(flatten)]
    pub audit: AuditSettings,
    #[command(flatten)]
    pub shadows: ShadowSettings,
}

/// Where settings are read from; not a setting of the file itself.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct FileSettings {
    /// A TOML file with settings; the names are those of the flags, with _ for -
    #[arg(long, env = "LFBM_CONFIG")]
    pub config: Option<PathBuf>,
}

/// How the process starts and ends.
#[derive(Args, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Start and stop")]
pub struct ProcessSettings {
    /// How long after SIGTERM to serve on while health says NOT_SERVING, so that load balancers
    /// see it before connections are refused
    #[arg(long, env = "LFBM_DRAIN_GRACE_S", default_value_t = 0)]
    pub drain_grace_s: u64,
    /// How long requests in flight may take after that
    #[arg(long, env = "LFBM_DRAIN_TIMEOUT_S", default_value_t = 20)]
    pub drain_timeout_s: u64,
    /// Written once the server listens: lines grpc=ADDRESS and http=ADDRESS
    #[arg(long, env = "LFBM_READY_FILE")]
    pub ready_file: Option<PathBuf>,
}

impl Group for ProcessSettings {}

impl Config {
    /// The settings of the command line and the environment, and of the file that they name.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting is unknown or out of its range.
    pub fn load(matches: &ArgMatches) -> Result<Self, ConfigError> {
        let file = FileSettings::from_arg_matches(matches).map_err(SettingsError::from)?;
        let sources = Sources::new(matches, file.config.as_deref())?;
        sources.check_names(&Self::command())?;
        let config = Self {
            models: sources.read()?,
            endpoint: sources.read()?,
            requests: sources.read()?,
            batches: sources.read()?,
            connections: sources.read()?,
            process: sources.read()?,
            telemetry: sources.read()?,
            audit: sources.read()?,
            shadows: sources.read()?,
            file,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.models.bundle.is_empty() {
            return Err(ConfigError::NoBundle);
        }
        for range in self.ranges() {
            range.check()?;
        }
        self.endpoint.check()?;
        self.models.check()?;
        self.requests.check()?;
        self.audit.check()?;
        self.shadows.check()?;
        Ok(self.check_batches()?)
    }

    /// What numbers may be, whatever other settings say.
    fn ranges(&self) -> Vec<Range> {
        [
            self.models.ranges(),
            self.endpoint.ranges(),
            self.requests.ranges(),
            self.batches.ranges(),
            self.connections.ranges(),
            self.process.ranges(),
            self.telemetry.ranges(),
            self.audit.ranges(),
            self.shadows.ranges(),
        ]
        .concat()
    }

    /// Whether batches fit the device that they are for.
    fn check_batches(&self) -> Result<(), SettingsError> {
        let device = self.models.device;
        let threads = self.batches.threads;
        let most = self.policy(device).capacity;
        Range::whole("max_batch_chains", most as u64, 2..=MAX_BATCH_CHAINS).check()?;
        let refuse = |name, value, expected| {
            Err(SettingsError::Range {
                name,
                value,
                expected,
            })
        };
        if device == Device::Cpu && threads > most {
            let expected =
                format!("at most max_batch_chains, {most}: a thread has a batch of its own");
            return refuse("threads", threads.to_string(), expected);
        }
        if let Some(buckets) = &self.batches.batch_buckets
            && !buckets.iter().all(|size| (1..=most).contains(size))
        {
            let expected = format!("sizes from 1 to max_batch_chains, {most}");
            return refuse("batch_buckets", format!("{buckets:?}"), expected);
        }
        Ok(())
    }

    /// How graphs are run.
    pub fn session_options(&self) -> SessionOptions {
        self.models.session_options(self.batches.threads)
    }

    /// How chains share batches on a device.
    pub fn policy(&self, device: Device) -> Policy {
        let threads = self.session_options().threads();
        self.batches.policy(device, threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfbm_runtime::Precision;
    use std::fs;

    fn args(flags: &[&str]) -> ArgMatches {
        Config::command().get_matches_from([&["lfbm-server"], flags].concat())
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let text = "bundle = ['a', 'b']\nmax_steps = 50\nmax_chains = 3\ndevice = 'cuda:1'\n";
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let config = Config::load(&args(&["--config", file, "--max-chains", "5"])).unwrap();
        let mut expected = Config::parse_from(["lfbm-server", "--config", file]);
        expected.models.bundle = vec!["a".into(), "b".into()];
        expected.requests.max_steps = 50;
        expected.requests.max_chains = 5;
        expected.models.device = Device::Cuda { id: 1 };
        assert_eq!(config, expected);
    }

    #[test]
    fn precision_is_the_most_exact_that_the_device_has() {
        for (device, precision) in [
            ("cpu", Precision::F32),
            ("cuda", Precision::F32),
            ("tensorrt", Precision::Tf32),
        ] {
            let flags = ["--bundle", "a", "--device", device];
            let options = Config::load(&args(&flags)).unwrap().session_options();
            assert_eq!(options.precision, precision, "{device}");
        }
        let flags = ["--bundle", "a", "--precision", "bf16"];
        let options = Config::load(&args(&flags)).unwrap().session_options();
        assert_eq!(options.precision, Precision::Bf16);
    }

    #[test]
    fn cuda_graphs_are_for_cuda() {
        let flags = [
            "--bundle",
            "a",
            "--device",
            "cuda:1",
            "--cuda-graphs",
            "true",
        ];
        let options = Config::load(&args(&flags)).unwrap().session_options();
        assert!(options.cuda_graphs);
        let options = Config::parse_from(["lfbm-server"]).session_options();
        assert!(!options.cuda_graphs);
    }

    #[test]
    fn mistakes_name_the_setting() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let path = file.to_str().unwrap();
        for (text, part) in [
            ("max_step = 50", "max_step"),
            ("max_steps = 'many'", "max_steps"),
            ("device = 'tpu'", "tpu"),
            ("precision = 'f16'", "f16"),
            (
                "precision = 'tf32'",
                "expected f32 or bf16 on the device cpu",
            ),
            ("max_batch_chains = 1", "max_batch_chains"),
            ("bulk_share = 1.5", "bulk_share"),
            ("threads = 8\nmax_batch_chains = 4", "threads is 8"),
            ("trace_sampling_ratio = -1.0", "trace_sampling_ratio"),
            ("batch_buckets = [0]", "batch_buckets"),
            ("device_fallback = 'never'", "never"),
            ("max_chains_in_flight = 3", "max_chains_in_flight"),
            ("tls_key = 'key.pem'", "tls_cert is not"),
            ("max_connections = 0", "max_connections"),
            ("handshake_timeout_s = 0", "handshake_timeout_s"),
            ("message_timeout_s = 0", "message_timeout_s"),
            ("grpc_address = 'localhost'", "expected HOST:PORT"),
            ("cuda_graphs = true", "cuda_graphs is true"),
            ("cuda_graphs = true\ndevice = 'tensorrt'", "tensorrt:0"),
            ("false_alarm_rate = 1.0", "above 0 and below 1"),
            ("audit_key_file = 'key'", "audit_log is not"),
            ("audit_log_keep = 0", "audit_log_keep"),
            ("shadow = ['parts:2']", "MODEL:VERSION=SHARE"),
            ("shadow = ['parts:2=1', 'parts:2=0.5']", "parts:2 twice"),
            ("shadow_queue = 0", "shadow_queue"),
            ("bundle = []", "--bundle"),
        ] {
            let flags: &[&str] = if text.starts_with("bundle") {
                &["--config", path]
            } else {
                &["--config", path, "--bundle", "a"]
            };
            fs::write(&file, text).unwrap();
            let error = Config::load(&args(flags)).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
