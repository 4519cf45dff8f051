//! A real server process for tests, and what they send to it.

#![allow(dead_code)] // Not every test uses everything.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use image::{GrayImage, ImageFormat};
use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::ImageSpec;
use lfbm_model::GeneratorName;
use lfbm_runtime::Runtime;
use lfbm_testkit::random_bundle;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::image::Content;
use lfbm_wire::{Image, InferenceParameters, ScoreRequest};
use tonic::transport::Channel;

/// A running `lfbm-server`; killed on drop.
pub struct Server {
    /// The process.
    pub process: Child,
    /// Where gRPC listens.
    pub url: String,
    /// Where HTTP listens, HOST:PORT.
    pub http: String,
}

impl Server {
    /// Starts a server on free ports, with `flags` besides, and waits until it listens.
    pub fn start(bundle: &Path, scratch: &Path, flags: &[&str]) -> Self {
        let mut command = command(bundle);
        command.args(flags).stderr(Stdio::null());
        Self::spawn(command, scratch)
    }

    /// Starts `command` and waits until it listens.
    pub fn spawn(mut command: Command, scratch: &Path) -> Self {
        let ready = scratch.join("ready");
        let _ = fs::remove_file(&ready);
        let mut process = command.arg("--ready-file").arg(&ready).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            assert!(process.try_wait().unwrap().is_none(), "the server stopped");
            assert!(
                Instant::now() < deadline,
                "the server is not ready after a minute"
            );
            let text = fs::read_to_string(&ready).unwrap_or_default();
            let address = |name| text.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(grpc), Some(http)) = (address("grpc="), address("http=")) {
                return Self {
                    process,
                    url: format!("http://{grpc}"),
                    http: http.to_owned(),
                };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A program of the workspace that `make test` builds beside the server.
pub fn binary(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_lfbm-server")).with_file_name(name);
    assert!(
        path.is_file(),
        "{} is missing: run `make test`",
        path.display()
    );
    path
}

/// `lfbm-server --bundle BUNDLE` on free ports, unless flags say otherwise.
pub fn command(bundle: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lfbm-server"));
    let free = "127.0.0.1:0";
    command
        .env("LFBM_GRPC_ADDRESS", free)
        .env("LFBM_HTTP_ADDRESS", free)
        .arg("--bundle")
        .arg(bundle);
    command
}

/// A bundle with random weights for 28 x 28 grey images, in `folder`.
pub fn bundle(folder: &Path) -> Bundle {
    let runtime = Runtime::load(None).unwrap();
    random_bundle(
        &folder.join("bundle"),
        &runtime,
        GeneratorName::Mlp,
        8,
        4,
        1,
    )
    .unwrap()
}

/// Bytes that look like no digit, but are an image.
pub fn pixels(spec: &ImageSpec, index: usize) -> Vec<u8> {
    (0..spec.pixels())
        .map(|pixel| ((pixel * 31 + index * 97) % 256) as u8)
        .collect()
}

/// A PNG file of 28 x 28 grey pixels.
pub fn png(bytes: Vec<u8>) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let image = GrayImage::from_raw(28, 28, bytes).unwrap();
    image.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

/// A request to score an encoded image.
pub fn encoded(bytes: Vec<u8>) -> ScoreRequest {
    ScoreRequest {
        image: Some(Image {
            content: Some(Content::Encoded(bytes)),
        }),
        ..Default::default()
    }
}

/// A client on a channel of its own.
pub async fn client(server: &Server) -> AnomalyDetectorClient<Channel> {
    AnomalyDetectorClient::connect(server.url.clone())
        .await
        .unwrap()
}

/// Whether two scores are the same but for the order of additions.
pub fn close(got: f64, expected: f64) -> bool {
    (got - expected).abs() <= 1e-3 * expected.abs().max(1.0)
}

/// The whole answer to a GET.
pub fn http_get(server: &Server, path: &str) -> String {
    http_get_with(server, path, "")
}

/// The whole answer to a GET with a header, `NAME: VALUE\r\n`.
pub fn http_get_with(server: &Server, path: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(&server.http).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{header}\r\n"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The sum of a metric's series that have `label` in their line.
pub fn metric(server: &Server, name: &str, label: &str) -> f64 {
    let text = http_get(server, "/metrics");
    let series = text.lines().filter(|line| {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        &line[..end] == name && line.contains(label)
    });
    let values = series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap());
    values.sum()
}

/// Looks until `condition` holds, a minute at most.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A request that runs until somebody ends it; the server needs `--max-steps 100000000`.
pub fn endless(mut request: ScoreRequest) -> ScoreRequest {
    request.inference = Some(InferenceParameters {
        steps: Some(100_000_000),
        step_size: Some(0.001),
        ..Default::default()
    });
    request
}

/// Memory of the server that is in RAM.
pub fn resident_bytes(server: &Server) -> usize {
    memory(server, "VmRSS:")
}

/// The most that was at any time.
pub fn peak_bytes(server: &Server) -> usize {
    memory(server, "VmHWM:")
}

fn memory(server: &Server, name: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.unwrap().split_whitespace().nth(1).unwrap();
    1024 * kib.parse::<usize>().unwrap()
}
