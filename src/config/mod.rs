//! Settings: defaults, then a file, then the environment, then flags.

mod address;
mod args;
mod check;
mod environment;

pub use address::Address;
pub use args::Args;
pub use check::ConfigError;
pub use environment::{environment, parse};

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use lfbm_runtime::{Device, Precision, SessionOptions};
use serde::{Deserialize, Serialize};

use crate::models::DeviceFallback;
use crate::scheduler::{Batching, Policy};
use crate::telemetry::LogFormat;

/// Of a batch, where the settings do not say.
const CHAINS_PER_THREAD: usize = 64;
/// What requests hold, where the settings do not say.
const REQUEST_MEMORY_BYTES: usize = 64 << 20;
/// As many messages of the longest kind have room at least: one is held as it came and decoded, and a
/// quarter is left to small ones.
pub(crate) const MESSAGES_IN_MEMORY: usize = 4;

fn from_text<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err = String>,
    D: serde::Deserializer<'de>,
{
    String::deserialize(from)?
        .parse()
        .map_err(serde::de::Error::custom)
}

fn some_from_text<'de, T, D>(from: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err = String>,
    D: serde::Deserializer<'de>,
{
    from_text(from).map(Some)
}

/// When requests enter a batch.
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
    pub grpc_address: Address,
    pub http_address: Address,
    #[serde(deserialize_with = "from_text")]
    pub device: Device,
    pub device_fallback: DeviceFallback,
    pub gpu_memory_limit_bytes: Option<usize>,
    #[serde(deserialize_with = "some_from_text")]
    pub precision: Option<Precision>,
    pub cuda_graphs: bool,
    pub threads: usize,
    pub max_batch_chains: Option<usize>,
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
    pub max_request_memory_bytes: Option<usize>,
    pub model_poll_s: u64,
    pub drift_window: usize,
    pub drain_grace_s: u64,
    pub max_connections: usize,
    pub handshake_timeout_s: u64,
    pub message_timeout_s: u64,
    pub max_streams: u32,
    pub keep_alive_s: u64,
    pub max_connection_idle_s: u64,
    pub max_connection_age_s: u64,
    pub max_connection_age_grace_s: u64,
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
            grpc_address: Address::local(50051),
            http_address: Address::local(9464),
            device: Device::Cpu,
            device_fallback: DeviceFallback::None,
            gpu_memory_limit_bytes: None,
            precision: None,
            cuda_graphs: false,
            threads: 0,
            max_batch_chains: None,
            batch_buckets: None,
            bulk_share: 0.25,
            batching: BatchingName::Step,
            request_batch_window_ms: 5,
            // What one stream may have under way, at the most chains an image.
            max_chains_in_flight: 16_384,
            max_queue_ms: 5000,
            max_chains: 64,
            max_steps: 2000,
            max_samples: 64,
            max_stream_in_flight: 256,
            max_message_bytes: 16 << 20,
            max_request_memory_bytes: None,
            model_poll_s: 10,
            drift_window: 1000,
            drain_grace_s: 0,
            max_connections: 16_384,
            handshake_timeout_s: 10,
            message_timeout_s: 30,
            max_streams: 1024,
            keep_alive_s: 30,
            max_connection_idle_s: 3600,
            max_connection_age_s: 0,
            max_connection_age_grace_s: 0,
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

impl Config {
    /// The settings of `args` and of the file that they name.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting is unknown or out of its range.
    pub fn load(args: &Args) -> Result<Self, ConfigError> {
        let settings = Self::unchecked(args)?;
        settings.check()?;
        Ok(settings)
    }

    /// The same for whoever does not serve.
    ///
    /// # Errors
    /// When the file cannot be read, or a setting is unknown or of the wrong type.
    pub fn unchecked(args: &Args) -> Result<Self, ConfigError> {
        let mut builder = config::Config::builder();
        if let Some(path) = &args.config {
            // The library says of a folder that it is not found.
            if path.is_dir() {
                return Err(ConfigError::Folder(path.to_path_buf()));
            }
            builder = builder
                .add_source(config::File::from(path.as_path()).format(config::FileFormat::Toml));
        }
        let source = config::Config::try_from(args)?;
        Ok(builder.add_source(source).build()?.try_deserialize()?)
    }

    /// How graphs are run.
    pub fn session_options(&self) -> SessionOptions {
        SessionOptions {
            device: self.device,
            threads: self.threads,
            gpu_memory_limit_bytes: self.gpu_memory_limit_bytes,
            precision: self.precision.unwrap_or(Precision::exact(self.device)),
            cuda_graphs: self.cuda_graphs,
        }
    }

    /// How long an interactive request may wait.
    pub fn max_queue(&self) -> Duration {
        Duration::from_millis(self.max_queue_ms)
    }

    /// Chains under way at most. A thread reads all weights for its batch, however small, so each has
    /// room for 64.
    fn batch_chains(&self, device: Device) -> usize {
        let threads = match device {
            Device::Cpu => self.session_options().threads(),
            Device::Cuda { .. } | Device::TensorRt { .. } => 1,
        };
        self.max_batch_chains.unwrap_or(CHAINS_PER_THREAD * threads)
    }

    /// Memory that all requests together may hold.
    pub fn request_memory_bytes(&self) -> usize {
        let of_messages = MESSAGES_IN_MEMORY.saturating_mul(self.max_message_bytes);
        self.max_request_memory_bytes
            .unwrap_or(of_messages.max(REQUEST_MEMORY_BYTES))
    }

    /// How chains share batches on a device.
    pub fn policy(&self, device: Device) -> Policy {
        let capacity = self.batch_chains(device);
        let mut buckets = match (&self.batch_buckets, device) {
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
    use clap::Parser;
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
        assert!(!Config::default().session_options().cuda_graphs);
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
            ("batching = 'never'", "never"),
            ("max_chains_in_flight = 3", "max_chains_in_flight"),
            ("tls_key = 'key.pem'", "tls_cert is not"),
            ("max_connections = 0", "max_connections"),
            ("handshake_timeout_s = 0", "handshake_timeout_s"),
            ("message_timeout_s = 0", "message_timeout_s"),
            ("grpc_address = 'localhost'", "expected HOST:PORT"),
            ("cuda_graphs = true", "cuda_graphs is true"),
            ("cuda_graphs = true\ndevice = 'tensorrt'", "tensorrt:0"),
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
