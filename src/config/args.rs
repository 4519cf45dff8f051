use std::fmt::Display;
use std::path::PathBuf;

use clap::Parser;
use lfbm_runtime::{Device, Precision};
use serde::{Serialize, Serializer};

use super::{Address, BatchingName};
use crate::models::DeviceFallback;
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
    /// Where gRPC listens: HOST:PORT (of a name the first address, IPv4 before IPv6), :PORT for all
    /// interfaces, or PORT for 127.0.0.1 [default: 127.0.0.1:50051]
    #[arg(long, env = "LFBM_GRPC_ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_address: Option<Address>,
    /// Where /metrics and /healthz listen, as above [default: 127.0.0.1:9464]
    #[arg(long, env = "LFBM_HTTP_ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_address: Option<Address>,
    /// cpu, cuda[:N] or tensorrt[:N] [default: cpu]
    #[arg(long, env = "LFBM_DEVICE")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub device: Option<Device>,
    /// Where models run when the device cannot be had: cpu, or none to refuse them [default: none]
    #[arg(long, env = "LFBM_DEVICE_FALLBACK", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_fallback: Option<DeviceFallback>,
    /// GPU memory that a graph of a model may take for tensors [default: all of it]
    #[arg(long, env = "LFBM_GPU_MEMORY_LIMIT_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_memory_limit_bytes: Option<usize>,
    /// How exactly large matrix products are computed: f32; bf16 on a cpu with AVX512-BF16, faster;
    /// tf32 on a GPU, faster [default: f32, on tensorrt tf32, which it always uses]
    #[arg(long, env = "LFBM_PRECISION")]
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub precision: Option<Precision>,
    /// Whether cuda replays Langevin steps from CUDA graphs, one for each batch size [default: false]
    #[arg(long, env = "LFBM_CUDA_GRAPHS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cuda_graphs: Option<bool>,
    /// Threads that run chains, each in a batch of its own; 0 for one per core [default: 0]
    #[arg(long, env = "LFBM_THREADS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Chains under way at most, which the threads share evenly; at least 2 [default: 64 a thread on
    /// cpu, 64 elsewhere]
    #[arg(long, env = "LFBM_MAX_BATCH_CHAINS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_batch_chains: Option<usize>,
    /// Sizes of a thread's batch that are run, as a list with commas, as far as it has room; smaller
    /// batches are padded to the next
    /// [default: none on cpu, powers of two elsewhere]
    #[arg(long, env = "LFBM_BATCH_BUCKETS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_buckets: Option<Vec<usize>>,
    /// Share of the chains under way that bulk requests get while interactive ones wait [default: 0.25]
    #[arg(long, env = "LFBM_BULK_SHARE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk_share: Option<f64>,
    /// When requests enter a batch: before every step, or when a batch has been collected
    /// [default: step]
    #[arg(long, env = "LFBM_BATCHING", value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batching: Option<BatchingName>,
    /// How long a batch is collected with --batching request [default: 5]
    #[arg(long, env = "LFBM_REQUEST_BATCH_WINDOW_MS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_batch_window_ms: Option<u64>,
    /// Chains of each priority that wait or run at most; more are refused [default: 16384]
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
    /// Images of one ScoreStream that may be under way [default: 256]
    #[arg(long, env = "LFBM_MAX_STREAM_IN_FLIGHT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_stream_in_flight: Option<usize>,
    /// Size of a request at most [default: 16777216]
    #[arg(long, env = "LFBM_MAX_MESSAGE_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_message_bytes: Option<usize>,
    /// Memory that all requests together may hold: as they came, unpacked and decoded; what needs more
    /// is refused for the moment [default: 67108864, or four times --max-message-bytes if that is more]
    #[arg(long, env = "LFBM_MAX_REQUEST_MEMORY_BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_request_memory_bytes: Option<usize>,
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
    /// How long a client may take from connecting to its first request, TLS included; after that its
    /// connection is closed [default: 10]
    #[arg(long, env = "LFBM_HANDSHAKE_TIMEOUT_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshake_timeout_s: Option<u64>,
    /// How long the server waits for the rest of a message; a stream may wait between messages
    /// [default: 30]
    #[arg(long, env = "LFBM_MESSAGE_TIMEOUT_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_timeout_s: Option<u64>,
    /// Requests that may be under way in one connection [default: 1024]
    #[arg(long, env = "LFBM_MAX_STREAMS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_streams: Option<u32>,
    /// How long a connection may be silent before it is asked for a sign of life [default: 30]
    #[arg(long, env = "LFBM_KEEP_ALIVE_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive_s: Option<u64>,
    /// How long a connection may have no request under way before its client is told to open another
    /// when it needs one; 0 for any time [default: 3600]
    #[arg(long, env = "LFBM_MAX_CONNECTION_IDLE_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_idle_s: Option<u64>,
    /// How old a connection may grow before its client is told to open another; what is under way
    /// in it is finished; a tenth more or less, so that clients do not come back together; 0 for any
    /// age [default: 0]
    #[arg(long, env = "LFBM_MAX_CONNECTION_AGE_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_age_s: Option<u64>,
    /// How long what is under way in such a connection may take; 0 for as long as it takes
    /// [default: 0]
    #[arg(long, env = "LFBM_MAX_CONNECTION_AGE_GRACE_S")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connection_age_grace_s: Option<u64>,
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

fn as_text<T: Copy + Default + Display, S: Serializer>(
    value: &Option<T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    to.collect_str(&value.unwrap_or_default())
}
