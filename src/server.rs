//! Puts the parts together: load, listen, serve, drain.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use lfbm_runtime::{Device, Runtime};
use tokio::net::TcpListener;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tower::Layer;

use crate::admission::Admission;
use crate::config::Config;
use crate::http;
use crate::memory::Memory;
use crate::models::{self, Loader, Models};
use crate::proto;
use crate::proto::anomaly_detector_server::AnomalyDetectorServer;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceServiceServer;
use crate::sampling::Sampling;
use crate::service::{
    AnomalyDetectorService, Core, Health, MessageLimits, OpenInferenceService, RequestLayer,
};
use crate::shutdown::Stop;
use crate::telemetry::{Metrics, watch_panics};
use crate::transport::{
    ConnectionLimits, Connections, TlsFiles, Tokens, raise_file_limit, server_config,
};
use crate::wire::Limits;

/// What else than gRPC connections holds a file: HTTP's, files that are read, the log.
const OTHER_FILES: usize = http::MAX_CONNECTIONS + 128;
/// How often the schedulers' threads are looked after.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a stop waits for a model that is being loaded, which is then left half loaded.
const LOADING_PATIENCE: Duration = Duration::from_millis(200);

/// A server that has loaded its models and listens.
pub struct Server {
    config: Config,
    models: Arc<Models>,
    metrics: Metrics,
    tokens: Option<Tokens>,
    grpc: Connections,
    http: TcpListener,
    /// SIGHUP, also one that came while models were loaded.
    hangup: Signal,
    stop: Stop,
    grpc_address: SocketAddr,
    http_address: SocketAddr,
}

impl Server {
    /// Loads the models, then listens; a client that can connect is answered. May be dropped at any
    /// time; a thread that reads a file or loads a model then goes on until the process ends.
    ///
    /// # Errors
    /// When a bundle, ONNX Runtime or an address cannot be had.
    pub async fn start(config: Config, stop: &Stop) -> anyhow::Result<Self> {
        let hangup = models::hangup()?;
        let runtime = tokio::task::spawn_blocking(|| Runtime::load(None)).await??;
        let metrics = Metrics::new(config.drift_window, runtime.version())?;
        watch_panics(metrics.clone());
        let max_connections = raise_file_limit()
            .saturating_sub(OTHER_FILES)
            .clamp(1, config.max_connections);
        if max_connections < config.max_connections {
            let asked = config.max_connections;
            tracing::warn!(
                asked,
                max_connections,
                "the limit on open files allows no more"
            );
        }
        let tls = match (&config.tls_cert, &config.tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_authorities: config.tls_client_ca.clone(),
            }),
            _ => None,
        };
        let tls = match tls {
            Some(files) => Some(server_config(files, metrics.clone()).await?),
            None => None,
        };
        let tokens = match config.auth_tokens_file.clone() {
            Some(file) => Some(Tokens::open(file, metrics.clone()).await?),
            None => None,
        };
        if tokens.is_some() && tls.is_none() {
            tracing::warn!("tokens are asked for without TLS: they can be read on the way");
        } else if tokens.is_some() && !config.auth_open_health {
            tracing::warn!("HTTP asks for tokens and has no TLS: they can be read on the way");
        }
        tracing::info!(onnxruntime = %runtime.path().display(), "loading models");
        let loader = Loader {
            runtime,
            options: config.session_options(),
            fallback: config.device_fallback,
            policy: config.policy(config.device),
            fallback_policy: config.policy(Device::Cpu),
            sampling: Sampling::new(config.max_samples, config.max_queue()),
            metrics: metrics.clone(),
        };
        let places = config.bundle.clone();
        let stopped = stop.clone();
        let load = move || Models::load(&places, loader, &stopped);
        let models = tokio::task::spawn_blocking(load).await??;
        let grpc = config.grpc_address.listen().await?;
        let http = config.http_address.listen().await?;
        Ok(Self {
            grpc_address: grpc.local_addr()?,
            http_address: http.local_addr()?,
            models: Arc::new(models),
            tokens,
            grpc: Connections {
                listener: grpc,
                tls,
                max_open: max_connections,
                limits: connection_limits(&config),
                metrics: metrics.clone(),
            },
            metrics,
            http,
            hangup,
            stop: stop.clone(),
            config,
        })
    }

    /// Where gRPC listens.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    /// Serves until a stop comes; then reports that it does not, goes on for the grace that load
    /// balancers need to see it, refuses what is new, and waits for requests in flight as long as
    /// the settings say.
    ///
    /// # Errors
    /// When the transport fails.
    pub async fn serve(self) -> anyhow::Result<()> {
        let Self {
            config,
            models,
            metrics,
            tokens,
            grpc,
            http,
            hangup,
            mut stop,
            grpc_address,
            http_address,
        } = self;
        let (reporter, health_service) = tonic_health::server::health_reporter();
        let mut health = Health::new(reporter);
        health.report(&models.catalog()).await;
        let serving = Arc::new(AtomicBool::new(true));
        let (drain, draining) = watch::channel(false);
        let limits = Limits {
            steps: config.max_steps,
            chains: config.max_chains,
            samples: config.max_samples,
            stream_in_flight: config.max_stream_in_flight,
        };
        let memory = Memory::new(config.request_memory_bytes());
        let core = Core {
            models: Arc::clone(&models),
            admission: Admission::new(config.max_chains_in_flight, config.max_queue()),
            limits,
            memory: memory.clone(),
            metrics: metrics.clone(),
            draining: draining.clone(),
        };
        let core = Arc::new(core);
        // Every generated server has these methods, and no trait names them. What they get was
        // unpacked by the layer.
        macro_rules! limited {
            ($server:expr) => {
                $server
                    .max_decoding_message_size(config.max_message_bytes)
                    .send_compressed(CompressionEncoding::Gzip)
                    .send_compressed(CompressionEncoding::Deflate)
                    .send_compressed(CompressionEncoding::Zstd)
            };
        }
        let open_inference = limited!(GrpcInferenceServiceServer::new(OpenInferenceService {
            core: Arc::clone(&core),
            serving: Arc::clone(&serving),
            max_message_bytes: config.max_message_bytes,
        }));
        let detector = limited!(AnomalyDetectorServer::new(AnomalyDetectorService(core)));
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let requests = RequestLayer::new(
            metrics.clone(),
            tokens.clone(),
            config.auth_open_health,
            MessageLimits {
                memory,
                max_bytes: config.max_message_bytes,
                timeout: Duration::from_secs(config.message_timeout_s),
            },
            &[
                proto::DESCRIPTORS,
                tonic_health::pb::FILE_DESCRIPTOR_SET,
                tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
                tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
            ],
        )?;
        let routes = Routes::new(limited!(health_service))
            .add_service(limited!(reflection().build_v1()?))
            // For older clients.
            .add_service(limited!(reflection().build_v1alpha()?))
            .add_service(open_inference)
            .add_service(detector);
        let mut transport = tokio::spawn(grpc.serve(requests.layer(routes.prepare()), draining));
        let poll = (config.model_poll_s > 0).then(|| Duration::from_secs(config.model_poll_s));
        let watch = models::watch(Arc::clone(&models), poll, hangup, stop.clone());
        let model_task = tokio::spawn(watch);
        let metrics_task = tokio::spawn(http::serve(
            http,
            metrics,
            Arc::clone(&models),
            Arc::clone(&serving),
            tokens.filter(|_| !config.auth_open_health),
        ));
        if let Some(path) = &config.ready_file {
            let path = path.clone();
            let write = move || write_ready(&path, grpc_address, http_address);
            tokio::task::spawn_blocking(write).await??;
        }
        tracing::info!(grpc = %grpc_address, http = %http_address, "serving");

        let failed = tokio::select! {
            () = stop.comes() => None,
            never = health.follow(models.subscribe()) => match never {},
            () = a_scheduler_stops(&models) => Some(anyhow::anyhow!("a scheduler's thread stopped")),
            ended = &mut transport => {
                ended?;
                Some(anyhow::anyhow!("the transport ended by itself"))
            }
        };
        serving.store(false, Ordering::Relaxed);
        health.stop().await;
        if failed.is_none() {
            let grace = Duration::from_secs(config.drain_grace_s);
            tracing::info!(grace_s = config.drain_grace_s, "not serving any more");
            tokio::time::sleep(grace).await;
        }
        health.clear().await;
        // Every connection is told to go away, and no new one is accepted: what a client sends
        // from here on is UNAVAILABLE to it.
        drain.send_replace(true);
        tracing::info!(timeout_s = config.drain_timeout_s, "draining");
        if failed.is_none() {
            let timeout = Duration::from_secs(config.drain_timeout_s);
            match tokio::time::timeout(timeout, &mut transport).await {
                Ok(ended) => ended?,
                Err(_) => {
                    tracing::warn!("connections are still open; closing them");
                    transport.abort();
                }
            }
        }
        if failed.is_some() {
            model_task.abort();
        } else if tokio::time::timeout(LOADING_PATIENCE, model_task)
            .await
            .is_err()
        {
            tracing::warn!("a model is still being loaded; it is left");
        }
        metrics_task.abort();
        tracing::info!("stopped");
        failed.map_or(Ok(()), Err)
    }
}

fn connection_limits(config: &Config) -> ConnectionLimits {
    let some = |seconds| (seconds > 0).then(|| Duration::from_secs(seconds));
    ConnectionLimits {
        handshake: Duration::from_secs(config.handshake_timeout_s),
        keep_alive: Duration::from_secs(config.keep_alive_s),
        idle: some(config.max_connection_idle_s),
        age: some(config.max_connection_age_s),
        age_grace: some(config.max_connection_age_grace_s),
        streams: config.max_streams,
    }
}

async fn a_scheduler_stops(models: &Models) {
    let mut interval = tokio::time::interval(WATCH_INTERVAL);
    loop {
        interval.tick().await;
        if models
            .catalog()
            .iter()
            .any(|model| !model.scheduler.is_alive())
        {
            return;
        }
    }
}

fn write_ready(path: &std::path::Path, grpc: SocketAddr, http: SocketAddr) -> anyhow::Result<()> {
    // In one step, so that nobody reads half of it.
    let draft = path.with_added_extension("draft");
    std::fs::write(&draft, format!("grpc={grpc}\nhttp={http}\n"))
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| path.display().to_string())
}
