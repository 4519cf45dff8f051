//! What a server needs before it listens.

use anyhow::Context;
use lfbm_runtime::Runtime;
use lfbm_settings::EndpointSettings;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::Admission;
use crate::config::Config;
use crate::http;
use crate::memory::Memory;
use crate::models::{Loader, Models};
use crate::phase::Phases;
use crate::sampling::Sampling;
use crate::service::{Core, shadow};
use crate::shadow::ShadowQueue;
use crate::telemetry::Metrics;
use crate::transport::{Admin, Reloaded, Tls, TlsFiles, Tokens, raise_file_limit, server_config};

/// What else than gRPC connections holds a file: HTTP's, files that are read, the log.
const OTHER_FILES: usize = http::MAX_CONNECTIONS + 128;

/// As many connections as are asked for, or as the limit on open files allows.
pub(super) fn max_connections(asked: usize) -> usize {
    let max_connections = raise_file_limit()
        .saturating_sub(OTHER_FILES)
        .clamp(1, asked);
    if max_connections < asked {
        tracing::warn!(
            asked,
            max_connections,
            "the limit on open files allows no more"
        );
    }
    max_connections
}

/// TLS and tokens, where the settings name files for them; `http1` says whether gRPC speaks HTTP/1.1, too.
///
/// # Errors
/// When the files cannot be used.
pub(super) async fn access(
    endpoint: &EndpointSettings,
    http1: bool,
    metrics: &Metrics,
) -> anyhow::Result<(Option<Reloaded<Tls>>, Option<Tokens>)> {
    let tls = match (&endpoint.tls_cert, &endpoint.tls_key) {
        (Some(certificate), Some(key)) => {
            let files = TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_authorities: endpoint.tls_client_ca.clone(),
            };
            Some(server_config(files, http1, metrics.clone()).await?)
        }
        _ => None,
    };
    let tokens = match endpoint.auth_tokens_file.clone() {
        Some(file) => Some(Tokens::open("auth tokens", file, metrics.clone()).await?),
        None => None,
    };
    if (tokens.is_some() || endpoint.admin_tokens_file.is_some()) && tls.is_none() {
        tracing::warn!("tokens are asked for without TLS: they can be read on the way");
    }
    Ok((tls, tokens))
}

/// Who may load and unload models, where the settings name tokens for it.
///
/// # Errors
/// When the file cannot be used.
pub(super) async fn admin(
    endpoint: &EndpointSettings,
    metrics: &Metrics,
) -> anyhow::Result<Option<Admin>> {
    let Some(file) = endpoint.admin_tokens_file.clone() else {
        return Ok(None);
    };
    let tokens = Tokens::open("admin tokens", file, metrics.clone()).await?;
    let (hosts, origins) = (&endpoint.admin_hosts, &endpoint.cors_origins);
    Ok(Some(Admin::new(tokens, hosts, origins)))
}

/// What models are loaded with.
///
/// # Errors
/// When a NUMA node that the settings name cannot be had.
pub(super) fn loader(
    config: &Config,
    runtime: Runtime,
    metrics: &Metrics,
) -> anyhow::Result<Loader> {
    let requests = &config.requests;
    Ok(Loader {
        runtime,
        execution: config.execution()?,
        fallback: config.fallback()?,
        max_chains_in_flight: requests.max_chains_in_flight,
        max_queue: requests.max_queue(),
        sampling: Sampling::new(requests.max_samples, requests.max_queue()),
        false_alarm_rate: config.models.false_alarm_rate,
        shadows: config.shadows.shadow.as_slice().into(),
        metrics: metrics.clone(),
    })
}

/// Scores the images for a shadow version, with limits and memory of its own: it takes nothing from requests.
///
/// # Errors
/// When a NUMA node that the settings name cannot be had, or the system has no thread to give.
pub(super) fn shadow_version(
    config: &Config,
    queue: ShadowQueue,
    models: &Arc<Models>,
    metrics: &Metrics,
    phases: &Phases,
) -> anyhow::Result<()> {
    let requests = &config.requests;
    // As many chains as the batches of a model have rows for.
    let chains = config.execution()?.policy.capacity;
    let core = Core {
        models: Arc::clone(models),
        admission: Some(Admission::new(chains, Duration::MAX)),
        limits: requests.limits(),
        memory: Memory::new(requests.memory_bytes()),
        metrics: metrics.clone(),
        phases: phases.clone(),
        audit: None,
        shadows: None,
        control: None,
    };
    shadow::start(core, queue, phases.clone()).context("a shadow version has no thread")
}

/// Writes where the server listens, in one step, so that nobody reads half of it.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write_ready(path: &Path, grpc: SocketAddr, http: SocketAddr) -> anyhow::Result<()> {
    let draft = path.with_added_extension("draft");
    std::fs::write(&draft, format!("grpc={grpc}\nhttp={http}\n"))
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| path.display().to_string())
}
