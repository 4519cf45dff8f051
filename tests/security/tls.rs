//! TLS and mutual TLS, with certificates made here.

use std::fs;
use std::path::Path;

use lfbm_wire::ListModelsRequest;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::common::{Server, bundle};
use crate::wait_for;

/// A certificate authority of a test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(parameters, key).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `localhost` and its key.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// Writes a certificate and its key; their paths.
fn write_pair(folder: &Path, (certificate, key): &(String, String)) -> [String; 2] {
    [("cert.pem", certificate), ("key.pem", key)].map(|(name, text)| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

fn trusting(authority: &Authority) -> ClientTlsConfig {
    ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.pem()))
        .domain_name("localhost")
}

/// Asks over TLS, in a new connection.
async fn list_over_tls(server: &Server, tls: ClientTlsConfig) -> Result<usize, String> {
    let url = server.url.replace("http://", "https://");
    let endpoint = Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap();
    let channel = endpoint.connect().await.map_err(|e| format!("{e:?}"))?;
    let reply = AnomalyDetectorClient::new(channel)
        .list_models(ListModelsRequest {})
        .await
        .map_err(|status| format!("{status:?}"))?;
    Ok(reply.into_inner().models.len())
}

#[tokio::test]
async fn tls_is_spoken_and_certificates_are_replaced_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new(), Authority::new());
    let [cert, key] = write_pair(folder.path(), &old.issue());
    let flags = ["--tls-cert", &cert, "--tls-key", &key];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    assert_eq!(list_over_tls(&server, trusting(&old)).await, Ok(1));
    list_over_tls(&server, trusting(&new)).await.unwrap_err();
    let plain = AnomalyDetectorClient::connect(server.url.clone()).await;
    let refused = match plain {
        Ok(mut client) => client.list_models(ListModelsRequest {}).await.is_err(),
        Err(_) => true,
    };
    assert!(refused, "a client without TLS was answered");

    // A certificate that does not belong to the key is refused, and the old pair stays.
    fs::write(&cert, new.issue().0).unwrap();
    let reloads =
        |result: &str| format!(r#"lfbm_reloads_total{{files="tls",result="{result}"}} 1"#);
    wait_for(&server, &reloads("failed")).await;
    assert_eq!(list_over_tls(&server, trusting(&old)).await, Ok(1));

    write_pair(folder.path(), &new.issue());
    wait_for(&server, &reloads("ok")).await;
    assert_eq!(list_over_tls(&server, trusting(&new)).await, Ok(1));
    list_over_tls(&server, trusting(&old)).await.unwrap_err();
}

#[tokio::test]
async fn mutual_tls_wants_a_certificate_of_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, clients) = (Authority::new(), Authority::new());
    let [cert, key] = write_pair(folder.path(), &authority.issue());
    let client_ca = folder.path().join("clients.pem");
    fs::write(&client_ca, clients.pem()).unwrap();
    let client_ca = client_ca.to_str().unwrap();
    let flags = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        client_ca,
    ];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let with = |issuer: &Authority| {
        let (cert, key) = issuer.issue();
        trusting(&authority).identity(Identity::from_pem(cert, key))
    };
    assert_eq!(list_over_tls(&server, with(&clients)).await, Ok(1));
    list_over_tls(&server, with(&authority)).await.unwrap_err();
    list_over_tls(&server, trusting(&authority))
        .await
        .unwrap_err();
}
