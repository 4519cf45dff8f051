//! TLS with a pinned certificate: the server's own, so that its name and authority do not matter.

use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, ensure};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Connects to servers that have this certificate.
pub(crate) struct Pinned {
    config: Arc<ClientConfig>,
    address: String,
}

impl Pinned {
    /// Reads the certificate of the server at `address`, and the one that this side shows, with its
    /// key, if there is one.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub(crate) fn new(
        address: String,
        certificate: &Path,
        identity: Option<(&Path, &Path)>,
    ) -> anyhow::Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let chain = chain(certificate)?;
        let expected = chain.into_iter().next().context("no certificate")?;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier { expected, provider }));
        let mut config = match identity {
            Some((certificate, key_file)) => {
                let key = PrivateKeyDer::from_pem_file(key_file)
                    .with_context(|| key_file.display().to_string())?;
                builder.with_client_auth_cert(self::chain(certificate)?, key)?
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            address,
        })
    }

    /// Connects as `endpoint` says, which speaks of no TLS.
    pub(crate) async fn connect(
        &self,
        endpoint: &Endpoint,
    ) -> Result<Channel, tonic::transport::Error> {
        let (config, address) = (Arc::clone(&self.config), self.address.clone());
        let connector = tower::service_fn(move |_: Uri| {
            let (config, address) = (Arc::clone(&config), address.clone());
            async move { open(config, &address).await.map(TokioIo::new) }
        });
        endpoint.connect_with_connector(connector).await
    }
}

async fn open(config: Arc<ClientConfig>, address: &str) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    // The pinned verifier ignores it.
    let name = ServerName::from(stream.peer_addr()?.ip());
    TlsConnector::from(config).connect(name, stream).await
}

fn chain(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let named = || format!("{}: expected certificates, PEM", path.display());
    let read = CertificateDer::pem_file_iter(path).with_context(named)?;
    let chain: Vec<_> = read.collect::<Result<_, _>>().with_context(named)?;
    ensure!(!chain.is_empty(), named());
    Ok(chain)
}

/// Accepts the pinned certificate only.
#[derive(Debug)]
struct Verifier {
    expected: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.expected {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
