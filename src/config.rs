//! Settings: defaults, then a file, then the environment, then flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use lfbm_bundle::runtime::Device;
use serde::{Deserialize, Serialize, Serializer};

use crate::models::DeviceFallback;
use crate::scheduler::{Batching, Policy};
use crate::telemetry::LogFormat;

/// Serves bundles that `trainer fit` wrote: gRPC for scores, HTTP for Prometheus.
#[derive(Parser, Clone, Debug, Default, Serialize)]
#[command(name = "lfbm-server", version)]
pub struct Args {
    /// A TOML file with settings; the names are those of the flags, with _ for -
    #[arg(long, env = "LFBM_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// A bundle, or a folder of bundles; may be given several times
    #[arg(long, env = "LFBM_BUNDLE", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Vec<PathBuf>>,
    /// Where gRPC listens [default: 127.0.0.1:50051]
    #[arg(long, env = "LFBM_GRPC_ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_address: Option<SocketAddr>,
    /// Where /metrics and /healthz listen [default: 127.0.0.1:9464]
    #[arg(long, env = "LFBM_HTTP_ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_address: Option<SocketAddr>,
    /// cpu, cuda[:N] or tensorrt[:N] [default: cpu]
    #[arg(long, env = "LFBM_DEVICE")]
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "device_as_text"
    )]
    pub device: Option<Device>,
    /// Where models run when the device cannot be had: cpu, or none to refuse them [default: none]
    #[arg(long, env = "LFBM_DEVICE_FALLBACK", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_fallback: Option<DeviceFallback>,
    /// GPU memory that a graph of a model may take for tensors [default: all of it]
    #[arg(long, env = "LFBM_GPU_MEMORY_LIMIT_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_limit_bytes: Option<usize>,
    /// Threads that share the rows of a step; 0 for one per core [default: 0]
    #[arg(long, env = "LFBM_THREADS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Chains that share a Langevin step at most; at least 2 [default: 64]
    #[arg(long, env = "LFBM_MAX_BATCH_CHAINS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_chains: Option<usize>,
    /// Batch sizes that are run, as a list with commas; smaller batches are padded to the next
    /// [default: none on cpu, powers of two elsewhere]
    #[arg(long, env = "LFBM_BATCH_BUCKETS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_buckets: Option<Vec<usize>>,
    /// Share of the batch that bulk requests get while interactive ones wait [default: 0.25]
    #[arg(long, env = "LFBM_BULK_SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk_share: Option<f64>,
    /// When requests enter the batch: before every step, or when a batch has been collected
    /// [default: step]
    #[arg(long, env = "LFBM_BATCHING", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching: Option<BatchingName>,
    /// How long a batch is collected with --batching request [default: 5]
    #[arg(long, env = "LFBM_REQUEST_BATCH_WINDOW_MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_batch_window_ms: Option<u64>,
    /// Chains of each priority that wait or run at most; more are refused [default: 4096]
    #[arg(long, env = "LFBM_MAX_CHAINS_IN_FLIGHT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_chains_in_flight: Option<usize>,
    /// How long an interactive request may wait for its steps; one that would wait longer is
    /// refused [default: 5000]
    #[arg(long, env = "LFBM_MAX_QUEUE_MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_queue_ms: Option<u64>,
    /// Chains that a request may ask for [default: 64]
    #[arg(long, env = "LFBM_MAX_CHAINS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_chains: Option<u32>,
    /// Langevin steps that a request may ask for [default: 2000]
    #[arg(long, env = "LFBM_MAX_STEPS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_steps: Option<u32>,
    /// Samples of the prior that a request may ask for [default: 64]
    #[arg(long, env = "LFBM_MAX_SAMPLES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_samples: Option<u32>,
    /// Images of one ScoreStream that may be under way [default: 64]
    #[arg(long, env = "LFBM_MAX_STREAM_IN_FLIGHT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stream_in_flight: Option<usize>,
    /// Size of a request at most [default: 16777216]
    #[arg(long, env = "LFBM_MAX_MESSAGE_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_bytes: Option<usize>,
    /// How often bundles are looked for that are new or gone; 0 for SIGHUP only [default: 10]
    #[arg(long, env = "LFBM_MODEL_POLL_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model_poll_s: Option<u64>,
    /// Scores that drift is worked out over, per model [default: 1000]
    #[arg(long, env = "LFBM_DRIFT_WINDOW")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift_window: Option<usize>,
    /// Connections that may be open [default: 16384]
    #[arg(long, env = "LFBM_MAX_CONNECTIONS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<usize>,
    /// Requests that may be under way in one connection [default: 1024]
    #[arg(long, env = "LFBM_MAX_STREAMS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_streams: Option<u32>,
    /// How long a connection may be silent before it is asked for a sign of life [default: 30]
    #[arg(long, env = "LFBM_KEEP_ALIVE_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive_s: Option<u64>,
    /// The server's certificate chain, PEM; with --tls-key, gRPC is served over TLS only
    #[arg(long, env = "LFBM_TLS_CERT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, env = "LFBM_TLS_KEY")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// Authorities, PEM, of the certificates that clients must have
    #[arg(long, env = "LFBM_TLS_CLIENT_CA")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_client_ca: Option<PathBuf>,
    /// Bearer tokens, one a line, of which requests must carry one
    #[arg(long, env = "LFBM_AUTH_TOKENS_FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_tokens_file: Option<PathBuf>,
    /// Whether health and metrics need no token [default: true]
    #[arg(long, env = "LFBM_AUTH_OPEN_HEALTH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_open_health: Option<bool>,
    /// How long after SIGTERM to serve on while health says NOT_SERVING, so that load balancers
    /// see it before connections are refused [default: 0]
    #[arg(long, env = "LFBM_DRAIN_GRACE_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_grace_s: Option<u64>,
    /// How long requests in flight may take after that [default: 20]
    #[arg(long, env = "LFBM_DRAIN_TIMEOUT_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_timeout_s: Option<u64>,
    /// Written once the server listens: lines grpc=ADDRESS and http=ADDRESS
    #[arg(long, env = "LFBM_READY_FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_file: Option<PathBuf>,
    /// How the log looks [default: auto]
    #[arg(long, env = "LFBM_LOG_FORMAT", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
    /// What is logged, such as info or lfbm_server=debug [default: info]
    #[arg(long, env = "LFBM_LOG")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Where an OpenTelemetry collector listens for OTLP over gRPC, http://HOST:PORT [default: none]
    #[arg(long, env = "LFBM_OTLP_ENDPOINT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub otlp_endpoint: Option<String>,
    /// Share of the traces that it is sent, from 0 to 1 [default: 1]
    #[arg(long, env = "LFBM_TRACE_SAMPLING_RATIO")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_sampling_ratio: Option<f64>,
}

fn device_as_text<S: Serializer>(device: &Option<Device>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&device.unwrap_or_default())
}

fn device_from_text<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Device, D::Error> {
    String::deserialize(from)?
        .parse()
        .map_err(serde::de::Error::custom)
}

/// When requests enter the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchingName {
    /// Before every step.
    Step,
    /// When a batch has been collected; then it runs to its end.
    Request,
}

/// Settings, all of them known. [`Args`] explains them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct Config {
    pub bundle: Vec<PathBuf>,
    pub grpc_address: SocketAddr,
    pub http_address: SocketAddr,
    #[serde(deserialize_with = "device_from_text")]
    pub device: Device,
    pub device_fallback: DeviceFallback,
    pub gpu_memory_limit_bytes: Option<usize>,
    pub threads: usize,
    pub max_batch_chains: usize,
    pub batch_buckets: Option<Vec<usize>>,
    pub bulk_share: f64,
    pub batching: BatchingName,
    pub request_batch_window_ms: u64,
    pub max_chains_in_flight: usize,
    pub max_queue_ms: u64,
    pub max_chains: u32,
    pub max_steps: u32,
    pub max_samples: u32,
    pub max_stream_in_flight: usize,
    pub max_message_bytes: usize,
    pub model_poll_s: u64,
    pub drift_window: usize,
    pub drain_grace_s: u64,
    pub max_connections: usize,
    pub max_streams: u32,
    pub keep_alive_s: u64,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub tls_client_ca: Option<PathBuf>,
    pub auth_tokens_file: Option<PathBuf>,
    pub auth_open_health: bool,
    pub drain_timeout_s: u64,
    pub ready_file: Option<PathBuf>,
    pub log_format: LogFormat,
    pub log: String,
    pub otlp_endpoint: Option<String>,
    pub trace_sampling_ratio: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bundle: Vec::new(),
            grpc_address: SocketAddr::from(([127, 0, 0, 1], 50051)),
            http_address: SocketAddr::from(([127, 0, 0, 1], 9464)),
            device: Device::Cpu,
            device_fallback: DeviceFallback::None,
            gpu_memory_limit_bytes: None,
            threads: 0,
            max_batch_chains: 64,
            batch_buckets: None,
            bulk_share: 0.25,
            batching: BatchingName::Step,
            request_batch_window_ms: 5,
            max_chains_in_flight: 4096,
            max_queue_ms: 5000,
            max_chains: 64,
            max_steps: 2000,
            max_samples: 64,
            max_stream_in_flight: 64,
            max_message_bytes: 16 << 20,
            model_poll_s: 10,
            drift_window: 1000,
            drain_grace_s: 0,
            max_connections: 16_384,
            max_streams: 1024,
            keep_alive_s: 30,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            auth_tokens_file: None,
            auth_open_health: true,
            drain_timeout_s: 20,
            ready_file: None,
            log_format: LogFormat::Auto,
            log: "info".to_owned(),
            otlp_endpoint: None,
            trace_sampling_ratio: 1.0,
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or has a setting that is unknown or of the wrong type.
    #[error("settings: {0}")]
    Source(#[from] config::ConfigError),
    /// No bundle was named.
    #[error("no bundle to serve; name one with --bundle, LFBM_BUNDLE or in the file of --config")]
    NoBundle,
    /// A setting needs another one.
    #[error("{name} is set and {other} is not; set both or neither")]
    Alone {
        /// The setting that is there.
        name: &'static str,
        /// The one that is missing.
        other: &'static str,
    },
    /// A setting is out of its range.
    #[error("{name} is {value}, expected {expected}")]
    Range {
        /// Which setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        expected: String,
    },
}

impl Config {
    /// The settings of `args` and of the file that they name.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting is unknown or out of its range.
    pub fn load(args: &Args) -> Result<Self, ConfigError> {
        let mut builder = config::Config::builder();
        if let Some(path) = &args.config {
            builder = builder
                .add_source(config::File::from(path.as_path()).format(config::FileFormat::Toml));
        }
        let settings: Self = builder
            .add_source(config::Config::try_from(args)?)
            .build()?
            .try_deserialize()?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.bundle.is_empty() {
            return Err(ConfigError::NoBundle);
        }
        for (name, value, other, needed) in [
            ("tls_cert", &self.tls_cert, "tls_key", &self.tls_key),
            ("tls_key", &self.tls_key, "tls_cert", &self.tls_cert),
            (
                "tls_client_ca",
                &self.tls_client_ca,
                "tls_cert",
                &self.tls_cert,
            ),
        ] {
            if value.is_some() && needed.is_none() {
                return Err(ConfigError::Alone { name, other });
            }
        }
        // The semaphore's own limit is far above any memory.
        let most = u32::MAX as usize;
        let ranges = [
            ("max_batch_chains", self.max_batch_chains, 2, 65_536),
            (
                "max_chains_in_flight",
                self.max_chains_in_flight,
                self.max_chains as usize,
                most,
            ),
            ("max_chains", self.max_chains as usize, 1, most),
            ("max_samples", self.max_samples as usize, 1, 4096),
            ("max_stream_in_flight", self.max_stream_in_flight, 1, 65_536),
            ("max_message_bytes", self.max_message_bytes, 1024, most),
            ("drift_window", self.drift_window, 1, 100_000),
            ("max_connections", self.max_connections, 1, most),
            ("max_streams", self.max_streams as usize, 1, most),
            ("keep_alive_s", self.keep_alive_s as usize, 1, 86_400),
        ];
        for (name, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return Err(ConfigError::Range {
                    name,
                    value: value.to_string(),
                    expected: format!("{low} to {high}"),
                });
            }
        }
        let range = |name, value: String, expected: &str| ConfigError::Range {
            name,
            value,
            expected: expected.to_owned(),
        };
        let shares = [
            ("bulk_share", self.bulk_share),
            ("trace_sampling_ratio", self.trace_sampling_ratio),
        ];
        if let Some((name, share)) = shares.iter().find(|(_, v)| !(0.0..=1.0).contains(v)) {
            return Err(range(name, share.to_string(), "0 to 1"));
        }
        if let Some(buckets) = &self.batch_buckets
            && !buckets
                .iter()
                .all(|size| (1..=self.max_batch_chains).contains(size))
        {
            let value = format!("{buckets:?}");
            let expected = format!(
                "sizes from 1 to max_batch_chains, {}",
                self.max_batch_chains
            );
            return Err(range("batch_buckets", value, &expected));
        }
        Ok(())
    }

    /// How chains share a batch.
    pub fn policy(&self) -> Policy {
        let capacity = self.max_batch_chains;
        let mut buckets = match (&self.batch_buckets, self.device) {
            (Some(buckets), _) => buckets.clone(),
            // The processor runs every size as well as the next.
            (None, Device::Cpu) => Vec::new(),
            (None, _) => {
                let powers = (0..usize::BITS).map(|power| 1 << power);
                let below = powers.take_while(|size| *size < capacity);
                below.chain([capacity]).collect()
            }
        };
        buckets.sort_unstable();
        Policy {
            capacity,
            bulk_share: self.bulk_share,
            buckets,
            batching: match self.batching {
                BatchingName::Step => Batching::Step,
                BatchingName::Request => Batching::Request {
                    window: Duration::from_millis(self.request_batch_window_ms),
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn args(flags: &[&str]) -> Args {
        Args::parse_from([&["lfbm-server"], flags].concat())
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("server.toml");
        let text = "bundle = ['a', 'b']\nmax_steps = 50\nmax_chains = 3\ndevice = 'cuda:1'\n";
        fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let config = Config::load(&args(&["--config", file, "--max-chains", "5"])).unwrap();
        let expected = Config {
            bundle: vec!["a".into(), "b".into()],
            max_steps: 50,
            max_chains: 5,
            device: Device::Cuda { id: 1 },
            ..Config::default()
        };
        assert_eq!(config, expected);
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
            ("max_batch_chains = 1", "max_batch_chains"),
            ("bulk_share = 1.5", "bulk_share"),
            ("trace_sampling_ratio = -1.0", "trace_sampling_ratio"),
            ("batch_buckets = [0]", "batch_buckets"),
            ("batching = 'never'", "never"),
            ("max_chains_in_flight = 3", "max_chains_in_flight"),
            ("tls_key = 'key.pem'", "tls_cert is not"),
            ("max_connections = 0", "max_connections"),
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
