//! Bundles in a bucket, of a store that speaks S3 on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/store.rs"]
mod store;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Server, bundle, client, encoded, eventually, http_get, metric, png};
use lfbm_wire::GetModelRequest;
use store::{SECRET, SESSION, Store};
use tempfile::TempDir;

const MODEL: &str = "random-mlp";
const ADMIN: &str = "an-admin-token-of-32-characters-x";

/// A bundle on this disk, with a version.
fn draft(scratch: &TempDir, version: u64) -> PathBuf {
    let folder = scratch.path().join(format!("draft-{version}"));
    fs::create_dir_all(&folder).unwrap();
    let draft = bundle(&folder).dir().to_path_buf();
    let file = draft.join("manifest.json");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replacen(r#""version": 1"#, &format!(r#""version": {version}"#), 1);
    fs::write(&file, text).unwrap();
    draft
}

/// A server of the bundles below `models/` of the store, which logs all that it can.
fn server(store: &Store, scratch: &TempDir) -> Command {
    let mut command = common::command(Path::new("s3://bucket/models/"));
    let log = File::options()
        .append(true)
        .create(true)
        .open(scratch.path().join("log"))
        .unwrap();
    command
        .envs(store.environment())
        .env("LFBM_LOG", "trace")
        .env("LFBM_MODEL_POLL_S", "1")
        .arg("--bundle-cache-dir")
        .arg(scratch.path().join("cache"))
        .stderr(log);
    command
}

fn log(scratch: &TempDir) -> String {
    fs::read_to_string(scratch.path().join("log")).unwrap()
}

/// The sentence with which a server ends that does not start.
fn refusal(server: &mut Command) -> String {
    let output = server
        .env("LFBM_LOG", "off")
        .stderr(Stdio::piped())
        .output();
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    errors.trim_end().to_owned()
}

async fn has_version(server: &Server, version: u64) -> bool {
    let request = GetModelRequest {
        model: MODEL.to_owned(),
        version,
    };
    client(server).await.get_model(request).await.is_ok()
}

async fn until_version(server: &Server, version: u64, wanted: bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while has_version(server, version).await != wanted {
        assert!(
            Instant::now() < deadline,
            "version {version}: not {wanted} within a minute"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Loads or unloads the model.
fn control(server: &Server, change: &str) {
    let url = format!(
        "http://{}/v2/repository/models/{MODEL}/{change}",
        server.http
    );
    let answer = ureq::post(url)
        .config()
        // Shorter than the time for which a store may be silent.
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .header("Authorization", format!("Bearer {ADMIN}"))
        .header("Content-Type", "application/json")
        .send("{}");
    assert!(answer.unwrap().status().is_success());
}

#[tokio::test]
async fn bundles_come_change_break_and_go_in_a_bucket_as_in_a_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let mut store = Store::start();
    let [first, second, third] = [1, 2, 3].map(|version| draft(&scratch, version));
    store.upload(&first, "models/first");
    let running = Server::spawn(server(&store, &scratch), scratch.path());
    assert!(has_version(&running, 1).await);

    store.upload(&second, "models/second");
    until_version(&running, 2, true).await;

    // In the place of the second one comes a third, of whose weights one byte is another.
    let weights = "models/second/weights.bin";
    let whole = fs::read(third.join("weights.bin")).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 2] ^= 1;
    store.put(weights, &damaged);
    fs::write(third.join("weights.bin"), &damaged).unwrap();
    store.upload(&third, "models/second");
    let models = || http_get(&running, "/models");
    let url = "s3://bucket/models/second";
    eventually("the damaged object is refused", || {
        models().contains(&format!("{url}/weights.bin: expected"))
    })
    .await;
    assert!(metric(&running, "lfbm_model_load_failures_total", "storage") > 0.0);
    assert!(has_version(&running, 2).await);
    assert!(!has_version(&running, 3).await);
    store.put(weights, &whole);
    until_version(&running, 3, true).await;
    until_version(&running, 2, false).await;
    eventually("it is refused no longer", || !models().contains(url)).await;

    store.remove(&first, "models/first");
    until_version(&running, 1, false).await;

    // A store that does not answer takes nothing away.
    store.stop();
    eventually("the store is missed", || {
        models().contains("s3://bucket/models: no connection to http://")
    })
    .await;
    assert!(has_version(&running, 3).await);
    let other = refusal(&mut server(&store, &scratch));
    assert!(other.contains("another server uses this cache"), "{other}");
    drop(running);

    // What was downloaded is served at the next start, too.
    let restarted = Server::spawn(server(&store, &scratch), scratch.path());
    let image = encoded(png((0..28 * 28).map(|pixel| (pixel % 251) as u8).collect()));
    let scored = client(&restarted).await.score(image).await;
    assert_eq!(scored.unwrap().into_inner().model.unwrap().version, 3);

    let log = log(&scratch);
    assert!(log.contains("bundle downloaded"), "{log}");
    for secret in [SECRET, SESSION] {
        assert!(!log.contains(secret));
    }
}

#[tokio::test]
async fn a_place_may_be_a_bundle_itself_and_be_loaded_on_request() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start();
    store.upload(&draft(&scratch, 1), "models");
    let tokens = scratch.path().join("admins");
    fs::write(&tokens, ADMIN).unwrap();
    let mut command = server(&store, &scratch);
    command
        .env("LFBM_MODEL_POLL_S", "0")
        .arg("--admin-tokens-file")
        .arg(&tokens);
    let running = Server::spawn(command, scratch.path());
    assert!(has_version(&running, 1).await);

    store.upload(&draft(&scratch, 2), "models");
    control(&running, "load");
    assert!(has_version(&running, 2).await);
    assert!(!has_version(&running, 1).await);
}

#[tokio::test]
async fn a_store_that_is_silent_keeps_nobody_from_unloading() {
    let scratch = tempfile::tempdir().unwrap();
    let mut store = Store::start();
    store.upload(&draft(&scratch, 1), "models/first");
    let tokens = scratch.path().join("admins");
    fs::write(&tokens, ADMIN).unwrap();
    let mut command = server(&store, &scratch);
    command.arg("--admin-tokens-file").arg(&tokens);
    let running = Server::spawn(command, scratch.path());
    store.stop();
    let silent = TcpListener::bind(store.address()).unwrap();
    // The look that this connection belongs to goes on for as long as the store may be silent.
    let (_asked, _) = silent.accept().unwrap();
    assert!(has_version(&running, 1).await);
    control(&running, "unload");
    assert!(!has_version(&running, 1).await);
}

#[test]
fn a_cache_holds_no_more_than_it_may() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start();
    store.upload(&draft(&scratch, 1), "models/first");
    let mut command = server(&store, &scratch);
    let refusal = refusal(command.args(["--bundle-cache-bytes", "10000"]));
    assert!(
        refusal.starts_with("lfbm-server: s3://bucket/models/first: it has "),
        "{refusal}"
    );
    assert!(refusal.ends_with("raise --bundle-cache-bytes"), "{refusal}");
}

#[test]
fn a_store_that_does_not_answer_and_a_bucket_that_is_not_there_are_told_in_a_sentence() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start();
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut unreachable = server(&store, &scratch);
    unreachable.env("AWS_ENDPOINT", format!("http://{free}"));
    assert_eq!(
        refusal(&mut unreachable),
        format!(
            "lfbm-server: s3://bucket/models: no connection to http://{free}: Connection refused (os error 111)"
        )
    );
    // Nothing is at the first place either, but a place that cannot be reached is told first.
    let mut absent = server(&store, &scratch);
    assert_eq!(
        refusal(absent.args(["--bundle", "s3://another/models"])),
        "lfbm-server: s3://another/models: there is no such object or bucket"
    );
    let empty = refusal(&mut server(&store, &scratch));
    assert!(
        empty.starts_with("lfbm-server: s3://bucket/models: expected a bundle (a folder with"),
        "{empty}"
    );
}

#[test]
fn urls_are_those_of_stores_and_need_a_cache() {
    let scratch = tempfile::tempdir().unwrap();
    let cache = scratch.path().to_str().unwrap();
    let cached = ["--bundle-cache-dir", cache];
    for (bundle, flags, reason) in [
        (
            "http://bucket/models",
            &cached[..],
            "bundle is http://bucket/models, expected a folder, s3://BUCKET/PREFIX",
        ),
        (
            "s3://user:password@bucket/",
            &cached,
            "bundle is s3://…, expected a folder",
        ),
        (
            "s3://bucket/models",
            &[],
            "bundle_cache_dir is not set, expected a folder",
        ),
        (
            "az://container/models",
            &cached,
            "az://container/models: the environment does not describe the store: ",
        ),
    ] {
        let refusal = refusal(common::command(Path::new(bundle)).args(flags));
        let expected = format!("lfbm-server: {reason}");
        assert!(refusal.starts_with(&expected), "{refusal}");
        assert!(!refusal.contains("password"), "{refusal}");
    }
}

/// Where a proxy asks for a password, whatever is asked for.
fn portal() -> String {
    const PAGE: &str = "<html><body>Sign in</body></html>";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close";
            let _ = write!(
                stream,
                "{head}\r\nContent-Length: {}\r\n\r\n{PAGE}",
                PAGE.len()
            );
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn the_page_of_a_proxy_is_no_empty_bucket() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start();
    store.upload(&draft(&scratch, 1), "models/first");
    let running = Server::spawn(server(&store, &scratch), scratch.path());
    assert!(has_version(&running, 1).await);
    drop(running);
    let mut command = server(&store, &scratch);
    command.env("AWS_ENDPOINT", portal());
    let restarted = Server::spawn(command, scratch.path());
    eventually("the place is refused", || {
        http_get(&restarted, "/healthz").contains("refused: s3://bucket/models")
    })
    .await;
    assert!(has_version(&restarted, 1).await);
}

/// A store that answers everything with a status and a body without end.
fn endless(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
            while stream.write_all(&[b' '; 1 << 16]).is_ok() {}
        }
    });
    format!("http://{address}")
}

#[test]
fn a_listing_or_an_error_without_end_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::start();
    for status in ["200 OK", "403 Forbidden"] {
        let mut command = server(&store, &scratch);
        command.env("AWS_ENDPOINT", endless(status));
        let refusal = refusal(&mut command);
        assert!(
            refusal.starts_with("lfbm-server: s3://bucket/models: "),
            "{refusal}"
        );
        assert!(
            refusal.ends_with("expected an answer of at most 64 MiB, got more"),
            "{refusal}"
        );
    }
}
