//! TLS and mutual TLS, by rustls.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{Reloaded, reload};
use crate::telemetry::Metrics;

/// Protocols, by their names in TLS (RFC 7301).
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// The files that make a TLS configuration, each PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// The private key of the first.
    pub key: PathBuf,
    /// Authorities of client certificates; if there are any, a client must have a certificate.
    pub client_authorities: Option<PathBuf>,
}

/// The configurations that new connections use, which differ in the protocol that they agree on.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For gRPC: HTTP/2, and HTTP/1.1 where it is spoken.
    pub grpc: Arc<ServerConfig>,
    /// For HTTP: HTTP/1.1.
    pub http: Arc<ServerConfig>,
}

/// The configurations that new connections use; they follow the files. `http1` says whether gRPC speaks
/// HTTP/1.1, too.
///
/// # Errors
/// When the files make none now.
pub async fn server_config(
    files: TlsFiles,
    http1: bool,
    metrics: Metrics,
) -> anyhow::Result<Reloaded<Tls>> {
    let mut paths = vec![files.certificate, files.key];
    paths.extend(files.client_authorities);
    let grpc: &[&[u8]] = if http1 { &[H2, HTTP_1_1] } else { &[H2] };
    reload("tls", paths, metrics, move |contents| {
        let config = match contents {
            [certificate, key] => configure(certificate, key, None),
            [certificate, key, authorities] => configure(certificate, key, Some(authorities)),
            _ => anyhow::bail!("expected a certificate and a key"),
        }?;
        let speaking = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Ok(Tls {
            grpc: speaking(grpc),
            http: speaking(&[HTTP_1_1]),
        })
    })
    .await
}

fn configure(
    certificate: &[u8],
    key: &[u8],
    client_authorities: Option<&[u8]>,
) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match client_authorities {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(pem).context("the client authorities")? {
                roots.add(authority).context("the client authorities")?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = certificates(certificate).context("the certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key).context("the private key")?;
    builder
        .with_single_cert(chain, key)
        .context("the certificate and its key")
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    ensure!(
        !certificates.is_empty(),
        "there is no CERTIFICATE in the file"
    );
    Ok(certificates)
}
