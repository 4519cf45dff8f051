//! Puts the parts together: load, listen, serve, drain.

mod grpc;
mod start;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lfbm_runtime::Runtime;
use tokio::runtime::Handle;
use tokio::signal::unix::Signal;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::audit::AuditLog;
use crate::config::Config;
use crate::http::{self, HttpState};
use crate::memory::Memory;
use crate::models::{self, Models, Places};
use crate::phase::Lifecycle;
use crate::rest::Rest;
use crate::service::{Access, Control, Core, Health};
use crate::shadow::Shadows;
use crate::shutdown::Stop;
use crate::telemetry::{Metrics, watch_panics};
use crate::transport::{Admin, Bound, Connections, Tokens};

/// How often the schedulers' threads are looked after.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a stop waits for a model that is being loaded, which is then left half loaded.
const LOADING_PATIENCE: Duration = Duration::from_millis(200);

/// A server that has loaded its models and listens.
pub struct Server {
    config: Config,
    models: Arc<Models>,
    metrics: Metrics,
    audit: Option<AuditLog>,
    tokens: Option<Tokens>,
    admin: Option<Admin>,
    grpc: Connections,
    http: http::Listener,
    /// SIGHUP, also one that came while models were loaded.
    hangup: Signal,
    stop: Stop,
    grpc_address: SocketAddr,
    http_address: SocketAddr,
}

/// What runs beside the server's own task.
struct Tasks {
    transport: JoinHandle<()>,
    models: JoinHandle<()>,
    http: JoinHandle<()>,
    /// HTTP connections that began before the drain.
    http_connections: TaskTracker,
}

impl Server {
    /// Takes the addresses, loads the models, then listens; a client that can connect is answered. May be dropped at any
    /// time; a thread that reads a file or loads a model then goes on until the process ends.
    ///
    /// # Errors
    /// When a bundle, ONNX Runtime or an address cannot be had.
    pub async fn start(config: Config, stop: &Stop) -> anyhow::Result<Self> {
        let hangup = models::hangup()?;
        let runtime = tokio::task::spawn_blocking(|| Runtime::load(None)).await??;
        let metrics = Metrics::new(config.telemetry.drift_window, runtime.version())?;
        watch_panics(metrics.clone());
        let admin = start::admin(&config.endpoint, &metrics).await?;
        let max_connections = start::max_connections(config.connections.max_connections);
        let (tls, tokens) =
            start::access(&config.endpoint, config.connections.grpc_web, &metrics).await?;
        let (settings, audited) = (config.audit.clone(), metrics.clone());
        // A pipe may wait for its reader.
        let open = move || AuditLog::open(&settings, &audited);
        let audit = tokio::task::spawn_blocking(open).await??;
        // An address that another program has is told before the models take their time.
        let grpc = Bound::to(&config.endpoint.grpc_address, "grpc_address").await?;
        let http = Bound::to(&config.endpoint.http_address, "http_address").await?;
        tracing::info!(onnxruntime = %runtime.path().display(), "loading models");
        let loader = start::loader(&config, runtime, &metrics)?;
        let sources = config.models.sources()?;
        let (stopped, connections) = (stop.clone(), Handle::current());
        let load = move || Models::load(Places::open(sources, connections)?, loader, &stopped);
        let models = tokio::task::spawn_blocking(load).await??;
        let (grpc, http) = (grpc.listen()?, http.listen()?);
        Ok(Self {
            grpc_address: grpc.local_addr()?,
            http_address: http.local_addr()?,
            http: http::Listener::new(http, tls.clone()),
            models: Arc::new(models),
            audit,
            tokens,
            admin,
            grpc: Connections {
                listener: grpc,
                tls,
                max_open: max_connections,
                limits: config.connections.limits(),
                metrics: metrics.clone(),
            },
            metrics,
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
            audit,
            tokens,
            admin,
            grpc: grpc_connections,
            http,
            hangup,
            mut stop,
            grpc_address,
            http_address,
        } = self;
        let (lifecycle, phases) = Lifecycle::serving();
        let (reporter, health_service) = tonic_health::server::health_reporter();
        let mut health = Health::new(reporter);
        health.report(&models.catalog()).await;
        let (shadows, queues) = Shadows::new(&config.shadows, &metrics);
        let has_shadows = !queues.is_empty();
        for queue in queues {
            start::shadow_version(&config, queue, &models, &metrics, &phases)?;
        }
        let requests = &config.requests;
        let core = Arc::new(Core {
            models: Arc::clone(&models),
            admission: None,
            limits: requests.limits(),
            memory: Memory::new(requests.memory_bytes()),
            metrics: metrics.clone(),
            phases: phases.clone(),
            audit: audit.clone(),
            shadows: has_shadows.then_some(shadows),
            control: (admin.as_ref()).map(|_| Control::new(Arc::clone(&models), stop.clone())),
        });
        let open_health = config.endpoint.auth_open_health;
        let access = Access {
            tokens: tokens.clone(),
            admin,
            open_health,
        };
        let rest = Rest::new(Arc::clone(&core), access.clone(), requests);
        let services = grpc::services(core, health_service, requests, access)?;
        let poll_s = config.models.model_poll_s;
        let poll = (poll_s > 0).then(|| Duration::from_secs(poll_s));
        let http_state = HttpState {
            metrics,
            models: Arc::clone(&models),
            phases: phases.clone(),
            tokens: tokens.filter(|_| !open_health),
            cors_origins: config.endpoint.cors_origins.clone(),
            rest,
        };
        let watch = models::watch(Arc::clone(&models), poll, hangup, stop.clone());
        let transport = if config.connections.grpc_web {
            let services = grpc::with_web(services, &config.endpoint.cors_origins);
            tokio::spawn(grpc_connections.serve(services, phases))
        } else {
            tokio::spawn(grpc_connections.serve(services, phases))
        };
        let mut tasks = Tasks {
            transport,
            models: tokio::spawn(watch),
            http_connections: http.connections(),
            http: tokio::spawn(http.serve(http_state)),
        };
        if let Some(path) = config.process.ready_file.clone() {
            let write = move || start::write_ready(&path, grpc_address, http_address);
            tokio::task::spawn_blocking(write).await??;
        }
        tracing::info!(grpc = %grpc_address, http = %http_address, "serving");

        let failed = tokio::select! {
            () = stop.comes() => None,
            never = health.follow(models.subscribe()) => match never {},
            () = a_scheduler_stops(&models) => Some(anyhow::anyhow!("a scheduler's thread stopped")),
            ended = &mut tasks.transport => {
                ended?;
                Some(anyhow::anyhow!("the transport ended by itself"))
            }
        };
        lifecycle.leave();
        health.stop().await;
        let ended = match failed {
            Some(failed) => {
                health.clear().await;
                lifecycle.drain();
                tasks.abort();
                Err(failed)
            }
            None => {
                let grace_s = config.process.drain_grace_s;
                tracing::info!(grace_s, "not serving any more");
                tokio::time::sleep(Duration::from_secs(grace_s)).await;
                health.clear().await;
                // Every connection is told to go away, and no new one is accepted: what a client
                // sends from here on is UNAVAILABLE to it.
                lifecycle.drain();
                tasks.drain(config.process.drain_timeout_s).await
            }
        };
        if let Some(audit) = audit {
            audit.flush().await;
        }
        tracing::info!("stopped");
        ended
    }
}

impl Tasks {
    fn abort(self) {
        self.models.abort();
        self.http.abort();
    }

    /// Waits for the requests under way.
    async fn drain(mut self, timeout_s: u64) -> anyhow::Result<()> {
        tracing::info!(timeout_s, "draining");
        let timeout = Duration::from_secs(timeout_s);
        self.http_connections.close();
        let drained = async {
            let ended = (&mut self.transport).await;
            self.http_connections.wait().await;
            ended
        };
        match tokio::time::timeout(timeout, drained).await {
            Ok(ended) => ended?,
            Err(_) => {
                tracing::warn!("connections are still open; closing them");
                self.transport.abort();
            }
        }
        let loaded = tokio::time::timeout(LOADING_PATIENCE, self.models).await;
        if loaded.is_err() {
            tracing::warn!("a model is still being loaded; it is left");
        }
        self.http.abort();
        Ok(())
    }
}

async fn a_scheduler_stops(models: &Models) {
    let mut interval = tokio::time::interval(WATCH_INTERVAL);
    loop {
        interval.tick().await;
        let catalog = models.catalog();
        // Without a shadow version, requests are answered all the same.
        let mut live = catalog.iter().filter(|model| !catalog.is_shadow(model));
        if live.any(|model| !model.scheduler.is_alive()) {
            return;
        }
    }
}
