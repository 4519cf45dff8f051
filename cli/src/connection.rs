//! Connects to the server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use clap::{Args, ValueEnum};
use lfbm_settings::Address;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use tonic::codec::CompressionEncoding;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};
use tonic_health::pb::health_client::HealthClient;

use crate::pinned::Pinned;
use crate::status::root_cause;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

const DEFAULT_SERVER: &str = "http://127.0.0.1:50051";

#[derive(Args, Clone)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// The server: HOST:PORT, or http:// or https:// before it; PORT is one of this machine
    /// [default: http://127.0.0.1:50051]
    #[arg(long, global = true, env = "LFBM_SERVER", hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// Seconds that an attempt at a request may take; when several images are scored, seconds for
    /// each that is under way
    #[arg(
        long,
        global = true,
        env = "LFBM_TIMEOUT_S",
        hide_env_values = true,
        default_value_t = 30.0
    )]
    timeout_s: f64,
    /// Authorities to trust, PEM; the system's when absent
    #[arg(
        long,
        global = true,
        env = "LFBM_TLS_CA",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) tls_ca: Option<PathBuf>,
    /// The name that the server's certificate must have; the host of --server when absent
    #[arg(
        long,
        global = true,
        env = "LFBM_TLS_SERVER_NAME",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub(crate) tls_server_name: Option<String>,
    /// This client's certificate, PEM, for a server that asks for one
    #[arg(
        long,
        global = true,
        env = "LFBM_CLIENT_CERT",
        hide_env_values = true,
        value_name = "FILE",
        requires = "tls_key"
    )]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert, PEM
    #[arg(
        long,
        global = true,
        env = "LFBM_CLIENT_KEY",
        hide_env_values = true,
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub(crate) tls_key: Option<PathBuf>,
    /// A file with the bearer token to send
    #[arg(
        long,
        global = true,
        env = "LFBM_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// Compression of requests; replies may be compressed with gzip or zstd whatever is chosen
    #[arg(long, global = true, value_enum)]
    compression: Option<Compression>,
    /// Seconds of silence after which the connection is asked for a sign of life
    #[arg(long, global = true, value_name = "SECONDS")]
    keep_alive_s: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Compression {
    Gzip,
    Zstd,
}

/// Connections of the same kind.
pub(crate) struct Connector {
    endpoint: Endpoint,
    pinned: Option<Pinned>,
    server: String,
    headers: Headers,
    compression: Option<CompressionEncoding>,
}

/// A connection that puts deadline and token on every request.
pub(crate) type Connection = InterceptedService<Channel, Headers>;

/// Marks a request that carries no deadline.
#[derive(Clone, Copy)]
pub(crate) struct WithoutDeadline;

/// What every request carries.
#[derive(Clone)]
pub(crate) struct Headers {
    timeout: Duration,
    authorization: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if request.extensions().get::<WithoutDeadline>().is_none() {
            request.set_timeout(self.timeout);
        }
        if let Some(authorization) = &self.authorization {
            let metadata = request.metadata_mut();
            metadata.insert("authorization", authorization.clone());
        }
        Ok(request)
    }
}

impl Connector {
    /// Reads the files that the flags name; connects to nothing yet.
    pub(crate) fn new(args: &ConnectionArgs) -> anyhow::Result<Self> {
        Self::pinned(args, None, None)
    }

    /// The same, by `pinned` if there is one, and with `token` if no flag names another.
    pub(crate) fn pinned(
        args: &ConnectionArgs,
        pinned: Option<Pinned>,
        token: Option<&str>,
    ) -> anyhow::Result<Self> {
        let wants_tls =
            args.tls_ca.is_some() || args.tls_cert.is_some() || args.tls_server_name.is_some();
        let server = args.server.as_deref().unwrap_or(DEFAULT_SERVER);
        let url = match server.split_once("://") {
            Some((scheme, _)) => {
                ensure!(
                    ["http", "https"].contains(&scheme),
                    "--server: expected HOST:PORT, or http:// or https:// before it, got {server:?}"
                );
                ensure!(
                    !wants_tls || scheme == "https" || args.server.is_none(),
                    "--tls-ca and --tls-cert need https:// in --server, as --tls-server-name does, got \
                     {server:?}"
                );
                server.to_owned()
            }
            None => {
                let scheme = if wants_tls { "https" } else { "http" };
                // A port alone, or all interfaces, is what a server's setting may say.
                let host = server.parse::<Address>();
                let host = host.map_or(server.to_owned(), |address| address.on_this_machine());
                ensure!(
                    host.rsplit_once(':')
                        .is_some_and(|(_, port)| port.parse::<u16>().is_ok()),
                    "--server: expected HOST:PORT, or http:// or https:// before it, got {server:?}"
                );
                format!("{scheme}://{host}")
            }
        };
        let mut endpoint = Endpoint::from_shared(url.clone())
            .with_context(|| {
                format!(
                    "--server: expected HOST:PORT, or http:// or https:// before it, got {server:?}"
                )
            })?
            .connect_timeout(CONNECT_TIMEOUT);
        if url.starts_with("https://") {
            endpoint = with_tls(endpoint, args)?;
        }
        if let Some(seconds) = args.keep_alive_s {
            endpoint = endpoint
                .http2_keep_alive_interval(Duration::from_secs(seconds))
                .keep_alive_while_idle(true);
        }
        Ok(Self {
            endpoint,
            pinned,
            server: server.to_owned(),
            headers: Headers {
                timeout: seconds("--timeout-s", args.timeout_s)?,
                authorization: match (&args.token_file, token) {
                    (Some(file), _) => Some(bearer_in(file)?),
                    (None, Some(token)) => Some(bearer(token).context("the server's token")?),
                    (None, None) => None,
                },
            },
            compression: args.compression.map(|compression| match compression {
                Compression::Gzip => CompressionEncoding::Gzip,
                Compression::Zstd => CompressionEncoding::Zstd,
            }),
        })
    }

    /// Opens a connection.
    ///
    /// # Errors
    /// When no server answers, or TLS fails.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let connected = match &self.pinned {
            Some(pinned) => pinned.connect(&self.endpoint).await,
            None => self.endpoint.connect().await,
        };
        let channel = connected.map_err(|error| {
            let cause = root_cause(&error);
            anyhow!("no connection to {} (--server): {cause}", self.server)
        })?;
        Ok(InterceptedService::new(channel, self.headers.clone()))
    }

    /// How long an attempt may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.headers.timeout
    }

    /// Compression of requests.
    pub(crate) fn compression(&self) -> Option<CompressionEncoding> {
        self.compression
    }

    /// Connects to `lfbm.v1.AnomalyDetector`.
    pub(crate) async fn detector(&self) -> anyhow::Result<AnomalyDetectorClient<Connection>> {
        let client = AnomalyDetectorClient::new(self.connect().await?)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            // The request bounds the size of the reply.
            .max_decoding_message_size(usize::MAX);
        Ok(match self.compression {
            Some(encoding) => client.send_compressed(encoding),
            None => client,
        })
    }

    /// Connects to `grpc.health.v1.Health`.
    pub(crate) async fn health(&self) -> anyhow::Result<HealthClient<Connection>> {
        Ok(HealthClient::new(self.connect().await?))
    }
}

fn with_tls(endpoint: Endpoint, args: &ConnectionArgs) -> anyhow::Result<Endpoint> {
    let tls = match &args.tls_ca {
        Some(path) => {
            let pem = read(path)?;
            // Tonic accepts a file without certificates as an empty list.
            ensure!(
                String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----"),
                "{}: expected certificates, PEM",
                path.display()
            );
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
        None => ClientTlsConfig::new().with_native_roots(),
    };
    let tls = match &args.tls_server_name {
        Some(name) => tls.domain_name(name.clone()),
        None => tls,
    };
    let endpoint = endpoint
        .tls_config(tls.clone())
        .map_err(|error| match &args.tls_ca {
            Some(path) => anyhow!(
                "--tls-ca {}: expected certificates, PEM: {}",
                path.display(),
                root_cause(&error)
            ),
            None => error.into(),
        })?;
    let (Some(cert), Some(key)) = (&args.tls_cert, &args.tls_key) else {
        return Ok(endpoint);
    };
    let identity = Identity::from_pem(read(cert)?, read(key)?);
    endpoint.tls_config(tls.identity(identity)).map_err(|error| {
        anyhow!(
            "--tls-cert {} and --tls-key {}: expected a certificate and its private key, PEM: {}",
            cert.display(),
            key.display(),
            root_cause(&error)
        )
    })
}

fn bearer_in(path: &Path) -> anyhow::Result<MetadataValue<Ascii>> {
    let text = String::from_utf8(read(path)?).ok();
    bearer(text.as_deref().unwrap_or_default()).with_context(|| path.display().to_string())
}

fn bearer(text: &str) -> anyhow::Result<MetadataValue<Ascii>> {
    let token = text.trim();
    ensure!(
        !token.is_empty() && !token.contains(char::is_whitespace),
        "expected one token"
    );
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .context("expected a token of ASCII")?;
    value.set_sensitive(true);
    Ok(value)
}

/// Of certificates, keys and tokens.
const MAX_SECRET_BYTES: u64 = 1 << 20;

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    File::open(path)
        .and_then(|file| lfbm_images::read_from(file, MAX_SECRET_BYTES))
        .with_context(|| path.display().to_string())
}

/// The value of a flag as a duration.
pub(crate) fn seconds(flag: &str, seconds: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .with_context(|| format!("{flag}: expected a number of seconds, got {seconds:?}"))
}
