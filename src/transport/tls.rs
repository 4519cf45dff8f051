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
    /// For gRPC: HTTP/2.
    pub grpc: Arc<ServerConfig>,
    /// For HTTP: HTTP/1.1.
    pub http: Arc<ServerConfig>,
}

/// The configurations that new connections use; they follow the files.
///
/// # Errors
/// When the files make none now.
pub async fn server_config(files: TlsFiles, metrics: Metrics) -> anyhow::Result<Reloaded<Tls>> {
    let mut paths = vec![files.certificate, files.key];
    paths.extend(files.client_authorities);
    reload("tls", paths, metrics, |contents| match contents {
        [certificate, key] => configure(certificate, key, None),
        [certificate, key, authorities] => configure(certificate, key, Some(authorities)),
        _ => anyhow::bail!("expected a certificate and a key"),
    })
    .await
}

fn configure(
    certificate: &[u8],
    key: &[u8],
    client_authorities: Option<&[u8]>,
) -> anyhow::Result<Tls> {
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
    let mut config = builder
        .with_single_cert(chain, key)
        .context("the certificate and its key")?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut http = config.clone();
    http.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Tls {
        grpc: Arc::new(config),
        http: Arc::new(http),
    })
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    ensure!(
        !certificates.is_empty(),
        "there is no CERTIFICATE in the file"
    );
    Ok(certificates)
}
