//! Settings as people write them: variables that are empty, addresses of every form, and a health
//! check that follows the server's.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use crate::common::{Server, http_get};
use crate::{repository, stdout};

const BUNDLE: &str = "models/mnist-not4";
/// Every variable that `--help` of a program names.
fn variables(program: impl AsRef<OsStr>) -> Vec<String> {
    let output = Command::new(program).arg("--help").output();
    // In one line: `[env:` may stand at the end of one.
    let help = stdout(&output.unwrap());
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    let names = help.split("[env: ").skip(1);
    let names = names.map(|rest| rest.split(['=', ']']).next().unwrap().to_owned());
    names.collect()
}

fn server_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lfbm-server"));
    command.arg("--bundle").arg(repository().join(BUNDLE));
    command
}

fn lfbm(settings: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(crate::common::binary("lfbm"));
    command.envs(settings.iter().copied()).args(args);
    command.output().unwrap()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn a_variable_that_is_empty_is_not_set() {
    let names = variables(env!("CARGO_BIN_EXE_lfbm-server"));
    assert!(names.len() > 40, "{names:?}");
    let scratch = tempfile::tempdir().unwrap();
    let mut command = server_command();
    command.envs(names.iter().map(|name| (name, "")));
    command.env("LFBM_ONNXRUNTIME", "");
    // Side by side with other servers; empty ones would be the defaults.
    command.args(["--grpc-address", "0", "--http-address", "0"]);
    let server = Server::spawn(command, scratch.path());
    let names = variables(crate::common::binary("lfbm"));
    assert!(names.len() >= 7, "{names:?}");
    let mut command = Command::new(crate::common::binary("lfbm"));
    command.envs(names.iter().map(|name| (name, "")));
    let output = command.args(["--server", &server.url, "models"]).output();
    assert!(stdout(&output.unwrap()).contains("mnist-not4"));

    // The defaults, not an address that is empty.
    let empty = [("LFBM_SERVER", ""), ("LFBM_GRPC_ADDRESS", "")];
    let errors = lfbm(&empty, &["models"]).stderr;
    let errors = String::from_utf8(errors).unwrap();
    assert!(
        errors.is_empty() || errors.contains("127.0.0.1:50051"),
        "{errors}"
    );
}

#[test]
fn addresses_are_names_or_ports_or_both() {
    for (setting, host) in [
        ("localhost:0", "127.0.0.1"),
        ("0", "127.0.0.1"),
        (":0", "127.0.0.1"),
        ("0.0.0.0:0", "127.0.0.1"),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let mut command = server_command();
        // By the environment, and by a file.
        let file = scratch.path().join("server.toml");
        fs::write(&file, format!("http_address = {setting:?}\n")).unwrap();
        command
            .env("LFBM_GRPC_ADDRESS", setting)
            .arg("--config")
            .arg(&file);
        let server = Server::spawn(command, scratch.path());
        let port = server.url.rsplit(':').next().unwrap();
        for address in [
            format!("{host}:{port}"),
            port.to_owned(),
            format!(":{port}"),
        ] {
            let output = lfbm(&[], &["--server", &address, "health"]);
            assert_eq!(stdout(&output), "SERVING\n", "{setting}, {address}");
        }
        assert!(
            http_get(&server, "/livez").starts_with("HTTP/1.1 200"),
            "{setting}"
        );
    }
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    for (setting, parts) in [
        ("localhost", ["expected HOST:PORT", "\"localhost\""]),
        ("::1:50051", ["[::1]:50051", "\"::1:50051\""]),
        (
            "http://localhost:1",
            ["expected HOST:PORT", "\"http://localhost:1\""],
        ),
        ("localhost:99999", ["expected HOST:PORT", "99999"]),
        (
            "no-such-host.invalid:0",
            ["cannot listen on", "no-such-host.invalid"],
        ),
        ("192.0.2.1:0", ["cannot listen on", "192.0.2.1"]),
        (&taken, ["cannot listen on", &taken]),
    ] {
        let output = server_command().env("LFBM_GRPC_ADDRESS", setting).output();
        let output = output.unwrap();
        assert!(!output.status.success(), "{setting}");
        let errors = String::from_utf8(output.stderr).unwrap();
        for part in parts {
            assert!(errors.contains(part), "{setting}: {errors}");
        }
        assert!(!errors.contains("loading models"), "{setting}: {errors}");
    }
    let twice = server_command()
        .args([
            "--grpc-address",
            "127.0.0.1:50051",
            "--http-address",
            "127.0.0.1:50051",
        ])
        .output()
        .unwrap();
    let errors = String::from_utf8(twice.stderr).unwrap();
    assert!(!twice.status.success());
    assert!(
        errors.contains("another address than that of grpc_address"),
        "{errors}"
    );
    for nonsense in ["", "a b:1", "ftp://a:1", "host", "host:port"] {
        let output = lfbm(&[], &["--server", nonsense, "health"]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{nonsense:?}");
        assert!(
            errors.contains("expected HOST:PORT"),
            "{nonsense:?}: {errors}"
        );
    }
}

/// An authority's certificate, and a server's of it for inspection.example, with its key.
fn certificates(folder: &Path) -> [String; 3] {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = KeyPair::generate().unwrap();
    let authority = CertifiedIssuer::self_signed(parameters, authority).unwrap();
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["inspection.example".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, &authority).unwrap();
    [
        ("ca.pem", authority.pem()),
        ("cert.pem", certificate.pem()),
        ("key.pem", key.serialize_pem()),
    ]
    .map(|(name, text)| {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

/// A server that has these settings from its environment, and nothing from flags but the place of
/// its metrics.
fn serve(settings: &[(&str, &str)]) -> (Server, TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let mut command = server_command();
    command
        .envs(settings.iter().copied())
        .args(["--http-address", "0"]);
    (Server::spawn(command, scratch.path()), scratch)
}

#[test]
fn the_health_check_follows_the_servers_settings() {
    let folder = tempfile::tempdir().unwrap();
    let [ca, cert, key] = certificates(folder.path());
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "# one\nopen-sesame\n").unwrap();
    let tokens = tokens.to_str().unwrap();
    let file = folder.path().join("server.toml");
    for (what, more) in [
        ("another port", vec![]),
        (
            "TLS",
            vec![("LFBM_TLS_CERT", &cert[..]), ("LFBM_TLS_KEY", &key)],
        ),
        (
            "mutual TLS",
            vec![
                ("LFBM_TLS_CERT", &cert),
                ("LFBM_TLS_KEY", &key),
                ("LFBM_TLS_CLIENT_CA", &ca),
            ],
        ),
        (
            "tokens",
            vec![
                ("LFBM_AUTH_TOKENS_FILE", tokens),
                ("LFBM_AUTH_OPEN_HEALTH", "false"),
            ],
        ),
    ] {
        for host in ["127.0.0.1", "0.0.0.0", "localhost", ""] {
            let address = format!("{host}:{}", free_port());
            let settings = [&[("LFBM_GRPC_ADDRESS", address.as_str())], &more[..]].concat();
            let (server, _scratch) = serve(&settings);
            let output = lfbm(&settings, &["health"]);
            assert_eq!(stdout(&output), "SERVING\n", "{what}, {address}");
            // By a file, as the server reads it.
            let lines = settings.iter().map(|(name, value)| {
                let name = name.strip_prefix("LFBM_").unwrap().to_lowercase();
                match *value {
                    "false" => format!("{name} = false\n"),
                    value => format!("{name} = {value:?}\n"),
                }
            });
            fs::write(&file, lines.collect::<String>()).unwrap();
            let by_file = [("LFBM_CONFIG", file.to_str().unwrap())];
            assert_eq!(stdout(&lfbm(&by_file, &["health"])), "SERVING\n", "{what}");
            // Who names a server means that one.
            let elsewhere = format!("127.0.0.1:{}", free_port());
            let output = lfbm(&settings, &["--server", &elsewhere, "health"]);
            assert_eq!(output.status.code(), Some(1), "{what}");
            drop(server);
            assert_eq!(
                lfbm(&settings, &["health"]).status.code(),
                Some(1),
                "{what}"
            );
        }
    }
}

#[test]
fn a_certificate_is_trusted_for_its_name_or_because_it_is_the_servers() {
    let folder = tempfile::tempdir().unwrap();
    let [ca, cert, key] = certificates(folder.path());
    let address = format!("127.0.0.1:{}", free_port());
    let settings = [
        ("LFBM_GRPC_ADDRESS", &address[..]),
        ("LFBM_TLS_CERT", &cert),
        ("LFBM_TLS_KEY", &key),
    ];
    let (_server, _scratch) = serve(&settings);
    let named = ["--tls-ca", &ca, "--tls-server-name", "inspection.example"];
    // With the server's settings and without them, for health and for the others.
    let health = [&named[..], &["health"]].concat();
    assert_eq!(stdout(&lfbm(&settings, &health)), "SERVING\n");
    let models = [&["--server", &address], &named[..], &["models"]].concat();
    assert!(stdout(&lfbm(&[], &models)).contains("mnist-not4"));
    let by_variable = [
        ("LFBM_TLS_SERVER_NAME", "inspection.example"),
        ("LFBM_TLS_CA", &ca),
    ];
    let models = ["--server", &address, "models"];
    assert!(stdout(&lfbm(&by_variable, &models)).contains("mnist-not4"));

    let other = [
        "--tls-ca",
        &ca,
        "--tls-server-name",
        "other.example",
        "health",
    ];
    assert_eq!(lfbm(&settings, &other).status.code(), Some(1));
    // The authority is right, the address is no name of the certificate.
    assert_eq!(
        lfbm(&settings, &["--tls-ca", &ca, "health"]).status.code(),
        Some(1)
    );
    let impostor = tempfile::tempdir().unwrap();
    let [_, cert, key] = certificates(impostor.path());
    let settings = [
        settings[0],
        ("LFBM_TLS_CERT", &cert),
        ("LFBM_TLS_KEY", &key),
    ];
    assert_eq!(lfbm(&settings, &["health"]).status.code(), Some(1));
}
