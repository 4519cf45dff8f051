//! The audit log, of a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use common::{Server, bundle, client, command, encoded, endless, eventually, metric, png};
use hmac::{Hmac, KeyInit, Mac};
use lfbm_wire::inference::ModelInferRequest;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::model_infer_request::InferInputTensor;
use lfbm_wire::score_stream_response::Result as Scored;
use lfbm_wire::{ExplainRequest, ScoreRequest, ScoreStreamRequest, Verdict};
use serde_json::Value;
use sha2::Sha256;
use tokio_stream::StreamExt;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_types::StatusExt;
use ureq::http::StatusCode;

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A folder with a log to come, and the flags of a server that writes it.
struct Log {
    folder: tempfile::TempDir,
    flags: Vec<String>,
}

impl Log {
    fn new(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        Self::at(folder, &path, flags)
    }

    /// Written to another file, such as a device.
    fn at(folder: tempfile::TempDir, path: &Path, flags: &[&str]) -> Self {
        let flags = [&["--audit-log", path.to_str().unwrap()], flags].concat();
        Self {
            folder,
            flags: flags.into_iter().map(str::to_owned).collect(),
        }
    }

    fn start(&self) -> Server {
        let bundle = bundle(self.folder.path());
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        Server::start(bundle.dir(), self.folder.path(), &flags)
    }

    fn path(&self, end: &str) -> PathBuf {
        self.folder.path().join(format!("audit.jsonl{end}"))
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path("")).unwrap()
    }
}

/// Lines by the id of their request and what they are of it; each is there once.
fn lines(text: &str) -> BTreeMap<(String, String), Value> {
    let mut lines = BTreeMap::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let part = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let key = (part("request_id"), part("item"));
        assert!(lines.insert(key, line.clone()).is_none(), "twice: {line}");
    }
    lines
}

/// A request with an id and a token.
fn request<T>(message: T, id: &str, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("x-request-id", id.parse().unwrap());
    if !token.is_empty() {
        metadata.insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

/// Posts an image to REST.
fn post(
    server: &Server,
    method: &str,
    headers: &[(&str, &str)],
    image: &[u8],
) -> (StatusCode, Value) {
    let url = format!("http://{}/v1/models/random-mlp:{method}", server.http);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let mut request = agent.post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.send(image).unwrap();
    let body = response.body_mut().read_to_vec().unwrap();
    (response.status(), serde_json::from_slice(&body).unwrap())
}

/// Stops the server as an orchestrator does; it has to end well.
fn stop(mut server: Server) {
    let id = server.process.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
}

fn hmac(image: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(image);
    let digest = mac.finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn every_image_that_was_to_be_scored_has_one_line_whatever_the_protocol() {
    let mut log = Log::new(&["--max-steps", "100000000"]);
    for (flag, name, text) in [
        (
            "--auth-tokens-file",
            "tokens",
            "sesame # line 4 camera\nbarley\n",
        ),
        ("--audit-key-file", "key", &format!("{KEY}\n")),
    ] {
        let path = log.folder.path().join(name);
        fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap().to_owned();
        log.flags.extend([flag.to_owned(), path]);
    }
    let server = log.start();
    let image = (0..28 * 28)
        .map(|pixel| (pixel % 251) as u8)
        .collect::<Vec<_>>();
    let file = png(image.clone());
    let score = encoded(file.clone());
    let mut client = client(&server).await;

    let scored = client
        .score(request(score.clone(), "score", "sesame"))
        .await;
    let scored = scored.unwrap().into_inner();
    let explain = ExplainRequest {
        image: score.image.clone(),
        ..Default::default()
    };
    client
        .explain(request(explain, "explain", "barley"))
        .await
        .unwrap();
    let items = ["first", "second", "broken"].map(|id| ScoreStreamRequest {
        id: id.to_owned(),
        request: Some(match id {
            "broken" => encoded(b"no image".to_vec()),
            _ => score.clone(),
        }),
    });
    let stream = request(tokio_stream::iter(items), "stream", "sesame");
    let replies = client.score_stream(stream).await.unwrap().into_inner();
    let replies: Vec<_> = replies.map(Result::unwrap).collect().await;
    let errors = replies
        .iter()
        .filter(|reply| matches!(reply.result, Some(Scored::Error(_))));
    assert_eq!((replies.len(), errors.count()), (3, 1));
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut v2 = GrpcInferenceServiceClient::new(channel.connect().await.unwrap());
    let two = [image.clone(), image.clone()].concat();
    let infer = ModelInferRequest {
        model_name: "random-mlp".to_owned(),
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: "UINT8".to_owned(),
            shape: vec![2, 1, 28, 28],
            ..Default::default()
        }],
        raw_input_contents: vec![two],
        ..Default::default()
    };
    v2.model_infer(request(infer, "infer", "sesame"))
        .await
        .unwrap();
    let token = ("authorization", "Bearer sesame");
    for method in ["score", "explain"] {
        let headers = [token, ("x-request-id", &format!("rest-{method}"))];
        assert_eq!(post(&server, method, &headers, &file).0, 200);
    }
    let headers = [token, ("x-request-id", "other-steps")];
    let (status, _) = post(&server, "score?steps=3", &headers, &file);
    assert_eq!(status, 200);
    // No line: nothing was to be scored by whoever may not ask.
    client
        .score(request(score.clone(), "stranger", "guess"))
        .await
        .unwrap_err();
    // Its client goes before the answer.
    let impatient = request(endless(score.clone()), "given-up", "sesame");
    let going = tokio::spawn(async move { client.score(impatient).await });
    eventually("the request runs", || {
        metric(&server, "lfbm_chains_running", "") > 0.0
    })
    .await;
    going.abort();
    eventually("all lines are written", || {
        metric(&server, "lfbm_audit_lines_total", "written") == 11.0
    })
    .await;
    stop(server);

    let text = log.text();
    for secret in ["sesame", "barley", "guess", KEY] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let lines = lines(&text);
    let expected = [
        ("score", "", "Score", "line 4 camera", "Ok"),
        ("explain", "", "Explain", "line 2", "Ok"),
        ("stream", "first", "ScoreStream", "line 4 camera", "Ok"),
        ("stream", "second", "ScoreStream", "line 4 camera", "Ok"),
        (
            "stream",
            "broken",
            "ScoreStream",
            "line 4 camera",
            "InvalidArgument",
        ),
        ("infer", "0", "ModelInfer", "line 4 camera", "Ok"),
        ("infer", "1", "ModelInfer", "line 4 camera", "Ok"),
        ("rest-score", "", "Score", "line 4 camera", "Ok"),
        ("rest-explain", "", "Explain", "line 4 camera", "Ok"),
        ("other-steps", "", "Score", "line 4 camera", "Ok"),
        ("given-up", "", "Score", "line 4 camera", "Cancelled"),
    ];
    let keys: BTreeSet<_> = lines.keys().cloned().collect();
    let keys_expected = expected.map(|(id, item, ..)| (id.to_owned(), item.to_owned()));
    assert_eq!(keys, keys_expected.into());
    let key_id = &lines[&("score".to_owned(), String::new())]["key_id"];
    for (id, item, method, token, code) in expected {
        let line = &lines[&(id.to_owned(), item.to_owned())];
        assert_eq!(line["method"], method, "{line}");
        assert_eq!(line["token"], token, "{line}");
        assert_eq!(line["code"], code, "{line}");
        assert_eq!(line["model"], "random-mlp", "{line}");
        assert_eq!(line["version"], 1, "{line}");
        assert_eq!(&line["key_id"], key_id, "{line}");
        let bytes = match (id, item) {
            ("infer", _) => &image[..],
            (_, "broken") => b"no image",
            _ => &file,
        };
        assert_eq!(line["image_hmac_sha256"], hmac(bytes), "{line}");
        assert!(line["latency_ms"].as_f64().unwrap() > 0.0, "{line}");
        let time = line["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.len() == 27, "{line}");
        let is_judged = code == "Ok" && id != "other-steps";
        assert_eq!(line["log_joint"].is_f64(), code == "Ok", "{line}");
        if is_judged {
            assert!(line["verdict"].is_string(), "{line}");
            assert_eq!(line["decision"], "local", "{line}");
            assert!(line["p_value"].is_f64(), "{line}");
        } else {
            for name in ["verdict", "p_value", "deciding_score"] {
                assert_eq!(line[name], Value::Null, "{line}");
            }
        }
    }
    let line = &lines[&("score".to_owned(), String::new())];
    assert_eq!(line["log_joint"], scored.log_joint);
    assert_eq!(line["deciding_score"], scored.local_score.unwrap());
    assert_eq!(line["p_value"], scored.local_p_value.unwrap());
    let verdict = match scored.verdict() {
        Verdict::Anomalous => "anomalous",
        _ => "normal",
    };
    assert_eq!(line["verdict"], verdict);
}

#[tokio::test]
async fn files_are_rotated_and_only_their_owner_reads_them() {
    let log = Log::new(&["--audit-log-max-bytes", "4096", "--audit-log-keep", "2"]);
    // Others could read it before the server came.
    fs::write(log.path(""), "").unwrap();
    fs::set_permissions(log.path(""), fs::Permissions::from_mode(0o644)).unwrap();
    let server = log.start();
    let mut client = client(&server).await;
    let image = encoded(png(vec![7; 28 * 28]));
    for index in 0..60 {
        let request = request(image.clone(), &format!("{index:02}"), "");
        client.score(request).await.unwrap();
    }
    stop(server);
    let mut ids = Vec::new();
    for end in [".2", ".1", ""] {
        let found = fs::metadata(log.path(end)).unwrap();
        assert_eq!(found.permissions().mode() & 0o777, 0o600, "{end}");
        assert!(found.len() <= 4096, "{end}: {found:?}");
        let text = fs::read_to_string(log.path(end)).unwrap();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["token"], Value::Null);
            ids.push(line["request_id"].as_str().unwrap().to_owned());
        }
    }
    assert!(!log.path(".3").exists());
    let first: usize = ids[0].parse().unwrap();
    assert!(first > 0, "the oldest lines are still there");
    let expected: Vec<_> = (first..60).map(|index| format!("{index:02}")).collect();
    assert_eq!(ids, expected);
}

#[tokio::test]
async fn a_stop_loses_no_line_of_an_answer() {
    let log = Log::new(&[]);
    let mut server = log.start();
    let image = encoded(png(vec![7; 28 * 28]));
    let mut askers = Vec::new();
    for asker in 0..8 {
        let mut client = client(&server).await;
        let image = image.clone();
        askers.push(tokio::spawn(async move {
            let mut answered = Vec::new();
            for index in 0.. {
                let id = format!("{asker}-{index}");
                match client.score(request(image.clone(), &id, "")).await {
                    Ok(_) => answered.push(id),
                    Err(_) => break,
                }
            }
            answered
        }));
    }
    eventually("there is something to lose", || {
        metric(&server, "lfbm_audit_lines_total", "written") > 100.0
    })
    .await;
    let id = server.process.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    let mut answered = BTreeSet::new();
    for asker in askers {
        answered.extend(asker.await.unwrap());
    }
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
    assert!(answered.len() > 100);
    let lines = lines(&log.text());
    let is_ok = |line: &&Value| line["code"] == "Ok" && line["log_joint"].is_f64();
    let written = lines.iter().filter(|(_, line)| is_ok(line));
    let written: BTreeSet<_> = written.map(|((id, _), _)| id.clone()).collect();
    let lost: Vec<_> = answered.difference(&written).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

#[tokio::test]
async fn lines_that_find_no_room_are_counted_and_answers_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::at(folder, Path::new("/dev/full"), &["--audit-log-queue", "1"]);
    let server = log.start();
    let file = png(vec![7; 28 * 28]);
    eventually("a line is dropped", || {
        assert_eq!(post(&server, "score", &[], &file).0, 200);
        metric(&server, "lfbm_audit_lines_total", "dropped") > 0.0
    })
    .await;
    assert!(metric(&server, "lfbm_audit_write_failures_total", "") > 0.0);
    assert_eq!(metric(&server, "lfbm_audit_lines_total", "written"), 0.0);
    // It does not wait for the device for ever.
    stop(server);
}

#[tokio::test]
async fn where_lines_are_required_requests_are_refused_while_none_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--audit-log-required", "true"];
    let log = Log::at(folder, Path::new("/dev/full"), &flags);
    let server = log.start();
    let file = png(vec![7; 28 * 28]);
    let mut client = client(&server).await;
    // The first one, whose line turns out not to be written.
    client.score(encoded(file.clone())).await.unwrap();
    eventually("the file fails", || {
        metric(&server, "lfbm_audit_write_failures_total", "") > 0.0
    })
    .await;
    let refused = client.score(encoded(file.clone())).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let details = refused.get_error_details();
    assert_eq!(
        details.error_info().unwrap().reason,
        "AUDIT_LOG_UNAVAILABLE"
    );
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    let (status, problem) = post(&server, "score", &[], &file);
    assert_eq!(status, 503);
    assert_eq!(problem["reason"], "AUDIT_LOG_UNAVAILABLE");
    assert!(problem["retry_after_ms"].as_u64().unwrap() > 0);
    assert_eq!(metric(&server, "lfbm_rejected_total", "audit"), 2.0);
    assert_eq!(metric(&server, "lfbm_audit_lines_total", "dropped"), 0.0);
    // What scores nothing is answered.
    client
        .list_models(lfbm_wire::ListModelsRequest {})
        .await
        .unwrap();
}

/// Reads a pipe from the time when it is told to.
fn reader(pipe: File, go: Arc<AtomicBool>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let (mut pipe, mut text) = (pipe, Vec::new());
        while !go.load(Ordering::Relaxed) {
            thread::sleep(std::time::Duration::from_millis(5));
        }
        let mut buffer = [0; 4096];
        // The test's own end of the pipe is open, so that it has no end.
        while !text.ends_with(b"END\n") {
            let count = pipe.read(&mut buffer).unwrap();
            text.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(text).unwrap()
    })
}

#[tokio::test]
async fn where_lines_are_required_a_slow_reader_is_waited_for_and_gets_all() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let pipe = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let flags = ["--audit-log-required", "true", "--audit-log-queue", "8"];
    let log = Log::at(folder, &path, &flags);
    let server = log.start();
    let go = Arc::<AtomicBool>::default();
    let mut own = pipe.try_clone().unwrap();
    let read = reader(pipe, Arc::clone(&go));
    let mut client = client(&server).await;
    let image: ScoreRequest = encoded(png(vec![9; 28 * 28]));
    let mut answered = BTreeSet::new();
    // The pipe fills, then the queue does.
    let refused = loop {
        let id = format!("before-{}", answered.len());
        match client.score(request(image.clone(), &id, "")).await {
            Ok(_) => assert!(answered.insert(id)),
            Err(status) => break status,
        }
        assert!(answered.len() < 10_000, "the queue has no end");
    };
    assert_eq!(refused.code(), Code::Unavailable);
    go.store(true, Ordering::Relaxed);
    eventually("the reader has read", || {
        metric(&server, "lfbm_audit_lines_total", "written") == answered.len() as f64
    })
    .await;
    client.score(request(image, "after", "")).await.unwrap();
    answered.insert("after".to_owned());
    stop(server);
    std::io::Write::write_all(&mut own, b"END\n").unwrap();
    let text = read.join().unwrap();
    let written = lines(text.strip_suffix("END\n").unwrap());
    let written: BTreeSet<_> = written.into_keys().map(|(id, _)| id).collect();
    assert_eq!(written, answered);
}

#[test]
fn a_log_that_cannot_be_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let key = folder.path().join("key");
    fs::write(&key, "short secret").unwrap();
    let log = folder.path().join("audit.jsonl");
    let (key, log) = (key.to_str().unwrap(), log.to_str().unwrap());
    let nowhere = folder.path().join("nowhere/audit.jsonl");
    let nowhere = nowhere.to_str().unwrap();
    for (flags, part) in [
        (&["--audit-log", nowhere][..], "--audit-log"),
        (
            &["--audit-log", log, "--audit-key-file", key],
            "expected 32 to 4096 bytes",
        ),
        (&["--audit-key-file", key], "audit_log is not"),
    ] {
        let output = command(bundle.dir())
            .args(flags)
            .stdout(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        let text = String::from_utf8(output.stderr).unwrap();
        let line = text.lines().last().unwrap();
        assert!(
            line.starts_with("lfbm-server: ") && line.contains(part),
            "{text}"
        );
        assert!(!text.contains("short secret"), "{text}");
    }
}

#[tokio::test]
async fn a_request_with_an_invalid_image_scores_none_of_its_images() {
    let log = Log::new(&[]);
    let server = log.start();
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut v2 = GrpcInferenceServiceClient::new(channel.connect().await.unwrap());
    let mut values = vec![0.5_f32; 3 * 28 * 28];
    values[2 * 28 * 28 - 1] = f32::NAN;
    let mut infer = async |shape: [i64; 4], values: &[f32]| {
        let request = ModelInferRequest {
            inputs: vec![InferInputTensor {
                name: "image".to_owned(),
                datatype: "FP32".to_owned(),
                shape: shape.to_vec(),
                ..Default::default()
            }],
            raw_input_contents: vec![values.iter().flat_map(|v| v.to_le_bytes()).collect()],
            ..Default::default()
        };
        v2.model_infer(request).await
    };
    let refused = infer([3, 1, 28, 28], &values).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    let part = "image 1: expected intensities from 0 to 1, got NaN at index 783";
    assert!(refused.message().contains(part), "{refused:?}");
    infer([1, 1, 28, 28], &values[..784]).await.unwrap();
    eventually("the valid one has its line", || {
        metric(&server, "lfbm_audit_lines_total", "written") >= 1.0
    })
    .await;
    stop(server);
    assert_eq!(log.text().lines().count(), 1, "{}", log.text());
}
