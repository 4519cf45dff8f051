//! SIGTERM while models are loaded, and while files cannot be read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use lfbm_wire::ListModelsRequest;
use tonic::Code;

use crate::common::{Server, bundle, client, command, eventually, http_get, metric};
use crate::{exit_status, terminate};

/// What a stop may take that waits for nobody: the second of the promise, and a busy machine's.
const STOP: Duration = Duration::from_secs(5);

fn stops_at_once(process: &mut Child) {
    let asked = Instant::now();
    terminate(process);
    assert_eq!(exit_status(process).code(), Some(0));
    assert!(asked.elapsed() < STOP, "{:?}", asked.elapsed());
}

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// So many versions of the shipped model, whose loading takes seconds.
fn versions(folder: &Path, count: u64) {
    let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/mnist-not4");
    for version in 1000..1000 + count {
        let to = folder.join(version.to_string());
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(&shipped).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
        let manifest = to.join("manifest.json");
        let text = fs::read_to_string(&manifest).unwrap();
        let start = text.find(r#""version": "#).unwrap() + r#""version": "#.len();
        let end = start + text[start..].find(',').unwrap();
        let text = format!("{}{version}{}", &text[..start], &text[end..]);
        fs::write(manifest, text).unwrap();
    }
}

#[tokio::test]
async fn a_stop_does_not_wait_for_models_that_are_loaded_at_sighup() {
    const COUNT: u64 = 12;
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    fs::create_dir(&models).unwrap();
    bundle(&models);
    let mut server = Server::start(&models, folder.path(), &["--model-poll-s", "0"]);
    let loaded = |server: &Server| metric(server, "lfbm_model_load_seconds_count", "");
    versions(&models, COUNT);
    let id = server.process.id().to_string();
    let sent = Command::new("kill").args(["-HUP", &id]).status();
    assert!(sent.unwrap().success());
    eventually("a new model is loaded", || loaded(&server) >= 2.0).await;
    assert!(loaded(&server) < COUNT as f64, "all were loaded");
    stops_at_once(&mut server.process);
}

#[test]
fn a_stop_does_not_wait_for_a_model_that_is_loaded_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    versions(&models, 4);
    let log = folder.path().join("log");
    let mut command = command(&models);
    command.args(["--log-format", "json"]);
    command.stderr(fs::File::create(&log).unwrap());
    let mut process = command.spawn().unwrap();
    let logged = |text| fs::read_to_string(&log).unwrap().contains(text);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !logged("loading models") {
        assert!(Instant::now() < deadline, "it does not start");
        std::thread::sleep(Duration::from_millis(5));
    }
    stops_at_once(&mut process);
    assert!(logged("stopped while models were loaded"));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_in_time_holds_up_neither_requests_nor_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    let flags = ["--auth-tokens-file", tokens.to_str().unwrap()];
    let bundle = bundle(folder.path());
    // Whoever opens a pipe to read it waits for one who writes.
    fifo(&tokens);
    let mut waiting = command(bundle.dir());
    waiting.args(flags);
    let mut process = waiting.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert!(process.try_wait().unwrap().is_none());
    stops_at_once(&mut process);

    fs::remove_file(&tokens).unwrap();
    fs::write(&tokens, "alpha").unwrap();
    let mut server = Server::start(bundle.dir(), folder.path(), &flags);
    fs::remove_file(&tokens).unwrap();
    fifo(&tokens);
    let mut client = client(&server).await;
    // As many looks at the file as there are threads that could wait for it.
    let looks = 2 * std::thread::available_parallelism().unwrap().get() as u64;
    let until = Instant::now() + Duration::from_secs(looks.min(20));
    while Instant::now() < until {
        let asked = client.list_models(ListModelsRequest {});
        let refused = tokio::time::timeout(Duration::from_secs(10), asked).await;
        assert_eq!(refused.unwrap().unwrap_err().code(), Code::Unauthenticated);
        assert!(http_get(&server, "/livez").starts_with("HTTP/1.1 200"));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    drop(client);
    stops_at_once(&mut server.process);
}
