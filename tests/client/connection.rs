//! Servers that ask for certificates, refuse, die and come back.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{Server, http_get};
use crate::{command, json, json_lines, repository, samples, serve};

#[test]
fn a_server_that_asks_for_certificates_and_tokens_gets_them() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate = write("cert.pem", &pair.cert.pem());
    let key = write("key.pem", &pair.signing_key.serialize_pem());
    let tokens = write("tokens", "an-older-token\nopen-sesame\n");
    let token = write("token", "open-sesame\n");
    let (server, _scratch) = serve(&[
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &certificate,
        "--auth-tokens-file",
        &tokens,
    ]);
    let port = server.url.rsplit(':').next().unwrap();
    let address = format!("localhost:{port}");
    let call = |args: &[&str]| {
        let output = Command::new(crate::common::binary("lfbm"))
            .env("LFBM_SERVER", &address)
            .args(["models", "--json"])
            .args(args)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output, errors)
    };
    let trust = ["--tls-ca", &certificate];
    let identity = ["--tls-cert", &certificate, "--tls-key", &key];
    assert!(!call(&[]).0.status.success());
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = write("other.pem", &other.signing_key.serialize_pem());
    let mixed = ["--tls-cert", &certificate, "--tls-key", &other];
    let (_, errors) = call(&[&trust[..], &mixed].concat());
    let names = format!("--tls-cert {certificate} and --tls-key {other}: expected ");
    assert!(errors.contains(&names), "{errors}");
    // What closes the connection is seen in several ways, by chance.
    for _ in 0..4 {
        for flags in [&trust[..], &["--server", &server.url]] {
            let (output, errors) = call(flags);
            assert_eq!(output.status.code(), Some(1));
            assert!(errors.starts_with("lfbm: UNAVAILABLE: "), "{errors}");
            assert!(errors.contains("may want https://"), "{errors}");
            assert!(errors.contains("(--tls-cert)"), "{errors}");
        }
    }
    let (output, errors) = call(&[&trust[..], &identity].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("UNAUTHENTICATED: "), "{errors}");
    assert!(errors.contains(" (request "), "{errors}");
    let (output, _) = call(&[&trust[..], &identity, &["--token-file", &token]].concat());
    assert_eq!(json(&output)["model"], "mnist-not4");
    // The server's own variables mean nothing to a client on the same machine.
    let output = Command::new(crate::common::binary("lfbm"))
        .args(["models", "--json"])
        .envs([
            ("LFBM_SERVER", address.as_str()),
            ("LFBM_TLS_CA", &certificate),
            ("LFBM_CLIENT_CERT", &certificate),
            ("LFBM_CLIENT_KEY", &key),
            ("LFBM_TOKEN_FILE", &token),
            ("LFBM_TLS_CERT", "the server's"),
        ])
        .output()
        .unwrap();
    assert_eq!(json(&output)["model"], "mnist-not4");
}

#[test]
fn refused_images_are_tried_again() {
    let (server, _scratch) = serve(&["--max-chains", "4", "--max-chains-in-flight", "4"]);
    let folder = samples();
    let long = [
        "score",
        "--json",
        "--timeout-s",
        "600",
        "--steps",
        "2000",
        // Bulk requests would wait for room instead.
        "--priority",
        "interactive",
        folder.to_str().unwrap(),
    ];
    let once = command(&server).args(long).args(["--retry", "0"]).output();
    let once = once.unwrap();
    assert_eq!(once.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&once.stderr);
    assert!(errors.contains("RESOURCE_EXHAUSTED"), "{errors}");
    let delay = errors.split("; try again in ").nth(1).expect(&errors);
    let delay = delay.split(' ').next().unwrap();
    assert_eq!(delay.split('.').nth(1).unwrap().len(), 3, "{delay}");

    let patient = command(&server)
        .args(long)
        .args(["--retry", "1000"])
        .output();
    assert_eq!(json_lines(&patient.unwrap()).len(), 12);
}

#[test]
fn a_server_that_is_killed_and_comes_back_is_asked_again() {
    let (mut server, scratch) = serve(&[]);
    let address = server.url.trim_start_matches("http://").to_owned();
    for (images, chains) in [(samples().join("model-1.png"), "64"), (samples(), "4")] {
        let asked = command(&server)
            .args(["score", "--json", "--retry", "1000", "--steps", "2000"])
            .args(["--timeout-s", "600", "--chains", chains])
            .arg(&images)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !http_get(&server, "/metrics")
            .lines()
            .any(|line| line.starts_with("lfbm_chains_running") && !line.ends_with(" 0"))
        {
            assert!(Instant::now() < deadline, "no request came");
            std::thread::sleep(Duration::from_millis(10));
        }
        server.process.kill().unwrap();
        server.process.wait().unwrap();
        let bundle = repository().join("models/mnist-not4");
        let flags = ["--grpc-address", &address];
        server = Server::start(&bundle, scratch.path(), &flags);
        let scored = json_lines(&asked.wait_with_output().unwrap());
        assert_eq!(scored.len(), if images.is_dir() { 12 } else { 1 });
    }
}
