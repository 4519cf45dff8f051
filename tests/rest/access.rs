//! Tokens and TLS.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use ureq::Agent;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::common::{Server, bundle, http_get, metric, pixels, png};
use crate::{Answer, agent, path, post, send_with};

#[tokio::test]
async fn everything_but_health_needs_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "alpha\n").unwrap();
    let tokens = tokens.to_str().unwrap();
    let server = Server::start(bundle.dir(), folder.path(), &["--auth-tokens-file", tokens]);
    let file = png(pixels(&bundle.manifest().image, 0));
    for headers in [&[][..], &[("authorization", "Bearer beta")]] {
        for operation in ["score", "explain", "sample", "forget"] {
            let answer = post(&server, &path(operation), headers, &file);
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert_eq!(answer.problem(401)["reason"], "TOKEN_REQUIRED");
        }
    }
    let refused = r#"reason="unauthenticated""#;
    assert_eq!(metric(&server, "lfbm_rejected_total", refused), 8.0);
    let token = [("authorization", "Bearer alpha")];
    assert_eq!(post(&server, &path("score"), &token, &file).status, 200);
}

/// A self-signed certificate for 127.0.0.1.
fn certificate() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap()
}

/// Writes a certificate and its key; their paths.
fn write(folder: &Path, pair: &CertifiedKey<rcgen::KeyPair>) -> [String; 2] {
    let files = [
        ("cert.pem", pair.cert.pem()),
        ("key.pem", pair.signing_key.serialize_pem()),
    ];
    files.map(|(name, text)| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

/// A client that trusts the server, and has a certificate or none.
fn agent_over_tls(
    server: &CertifiedKey<rcgen::KeyPair>,
    own: Option<&CertifiedKey<rcgen::KeyPair>>,
) -> Agent {
    let root = Certificate::from_pem(server.cert.pem().as_bytes()).unwrap();
    let own = own.map(|own| {
        let certificate = Certificate::from_pem(own.cert.pem().as_bytes()).unwrap();
        let key = PrivateKey::from_pem(own.signing_key.serialize_pem().as_bytes()).unwrap();
        ClientCert::new_with_certs(&[certificate], key)
    });
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(vec![root])))
        .client_cert(own)
        .build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .tls_config(tls);
    config.build().into()
}

fn score_over_tls(agent: &Agent, server: &Server, file: &[u8]) -> Answer {
    let url = format!("https://{}{}", server.http, path("score"));
    send_with(agent, "POST", &url, &[], file)
}

#[tokio::test]
async fn where_there_is_a_certificate_scores_come_over_tls_and_probes_need_none() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let pair = certificate();
    let [cert, key] = write(folder.path(), &pair);
    let flags = ["--tls-cert", &cert, "--tls-key", &key];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let file = png(pixels(&bundle.manifest().image, 0));
    let agent_over_tls = agent_over_tls(&pair, None);
    assert_eq!(score_over_tls(&agent_over_tls, &server, &file).status, 200);
    let livez = format!("https://{}/livez", server.http);
    assert_eq!(
        send_with(&agent_over_tls, "GET", &livez, &[], b"").status,
        200
    );
    for path in ["/livez", "/healthz", "/metrics"] {
        assert!(
            http_get(&server, path).starts_with("HTTP/1.1 200"),
            "{path}"
        );
    }
    let problem = post(&server, &path("score"), &[], &file).problem(403);
    assert_eq!(problem["reason"], "TLS_REQUIRED");
    for path in ["/v1/models", "/", "/console/app.js"] {
        let without_tls = format!("http://{}{path}", server.http);
        send_with(&agent(), "GET", &without_tls, &[], b"").problem(403);
    }
    let console = livez.replace("/livez", "/");
    let page = send_with(&agent_over_tls, "GET", &console, &[], b"");
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
}

#[tokio::test]
async fn mutual_tls_wants_a_certificate_of_its_authority() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let (pair, client, stranger) = (certificate(), certificate(), certificate());
    let [cert, key] = write(folder.path(), &pair);
    let clients = folder.path().join("clients.pem");
    fs::write(&clients, client.cert.pem()).unwrap();
    let clients = clients.to_str().unwrap();
    let flags = [
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        clients,
    ];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let file = png(pixels(&bundle.manifest().image, 0));
    let known = agent_over_tls(&pair, Some(&client));
    assert_eq!(score_over_tls(&known, &server, &file).status, 200);
    let url = format!("https://{}/v1/models", server.http);
    for own in [None, Some(&stranger)] {
        let answer = agent_over_tls(&pair, own).get(&url).call();
        assert!(answer.is_err(), "{answer:?}");
    }
    assert!(http_get(&server, "/livez").starts_with("HTTP/1.1 200"));
}
