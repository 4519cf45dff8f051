//! `lfbm` as its users meet it: the binary against a server, its output and its exit codes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/store.rs"]
mod store;

mod bench;
mod connection;
mod errors;
mod frames;
mod inputs;
mod made;
mod objects;
mod score;
mod settings;
mod sites;
mod stop;
mod watch;
mod webhook;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::{Server, http_get};
use serde_json::Value;
use tempfile::TempDir;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn samples() -> PathBuf {
    repository().join("deploy/samples")
}

fn serve(flags: &[&str]) -> (Server, TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let bundle = repository().join("models/mnist-not4");
    (Server::start(&bundle, scratch.path(), flags), scratch)
}

fn command(server: &Server) -> Command {
    let mut command = Command::new(common::binary("lfbm"));
    command.args(["--server", &server.url]);
    command
}

fn lfbm(server: &Server, args: &[&str]) -> Output {
    command(server).args(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

fn json_lines(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn with_input(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// How many scores the server has answered.
fn scored(server: &Server) -> u64 {
    let metrics = http_get(server, "/metrics");
    let answered = metrics
        .lines()
        .filter(|line| line.starts_with("lfbm_requests_total") && line.contains("\"Score\""));
    answered
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

/// How many images of any call were computed.
fn scored_in_streams(server: &Server) -> u64 {
    common::metric(server, "lfbm_compute_duration_seconds_count", "") as u64
}

fn signal(process: &Child, name: &str) {
    let status = Command::new("kill")
        .args([format!("-{name}"), process.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn completions_are_a_script_that_the_shell_reads() {
    let output = Command::new(common::binary("lfbm"))
        .args(["completions", "bash"])
        .output();
    let script = stdout(&output.unwrap());
    assert!(script.contains("--find-capacity"));
    let checked = with_input(Command::new("bash").arg("-n"), script.as_bytes());
    assert!(checked.status.success(), "{checked:?}");
}
