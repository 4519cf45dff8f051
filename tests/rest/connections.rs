//! Connections, deadlines, overload, memory and the end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use lfbm_wire::InferenceParameters;

use crate::common::{
    Server, bundle, client, encoded, endless, eventually, http_get, metric, pixels, png,
};
use crate::{agent, path, post, send_with};

/// More than any answer here takes.
const PATIENCE: Duration = Duration::from_secs(60);
const ENDLESS: [&str; 2] = ["--max-steps", "100000000"];

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(&server.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The head of a request to score a body of so many bytes.
fn head(length: usize) -> String {
    let path = path("score");
    format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

/// All that a connection answers until it ends.
fn answer(mut stream: &TcpStream) -> String {
    let mut answer = Vec::new();
    // The server may close before it has read everything.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_connection_takes_one_request_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let file = png(pixels(&bundle.manifest().image, 0));
    let mut stream = connect(&server);
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..3 {
        stream.write_all(head(file.len()).as_bytes()).unwrap();
        stream.write_all(&file).unwrap();
        let mut length = 0;
        let mut line = String::new();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert!(json["log_joint"].is_number());
    }
}

#[tokio::test]
async fn a_deadline_is_kept_wherever_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &ENDLESS);
    let file = png(pixels(&bundle.manifest().image, 0));
    let endless = format!("{}?steps=100000000&step_size=0.001", path("score"));
    let in_query = format!("{endless}&timeout_ms=300");
    for (path, headers) in [
        (&in_query, &[][..]),
        (&endless, &[("x-request-timeout-ms", "300")]),
    ] {
        // The second may be known to be too long before it is tried.
        let problem = post(&server, path, headers, &file).problem(504);
        let reason = problem["reason"].as_str().unwrap();
        assert!(reason.starts_with("DEADLINE_"), "{problem}");
    }
}

#[tokio::test]
async fn an_overloaded_server_says_when_to_come_again() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let limits = ["--max-chains", "2", "--max-chains-in-flight", "2"];
    let flags = [&ENDLESS[..], &limits].concat();
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let file = png(pixels(&bundle.manifest().image, 0));
    let mut request = endless(encoded(file.clone()));
    request.inference = request.inference.map(|inference| InferenceParameters {
        chains: Some(2),
        ..inference
    });
    let mut client = client(&server).await;
    let running = tokio::spawn(async move { client.score(request).await });
    let mut refused = None;
    eventually("there is no room", || {
        let answer = post(&server, &path("score"), &[], &file);
        let is_refused = answer.status == 429;
        refused = is_refused.then_some(answer);
        is_refused
    })
    .await;
    let refused = refused.unwrap();
    let seconds: u64 = refused.header("retry-after").parse().unwrap();
    let milliseconds = refused.problem(429)["retry_after_ms"].as_u64().unwrap();
    assert!(milliseconds > 0 && seconds == milliseconds.div_ceil(1000).max(1));
    running.abort();
}

#[tokio::test]
async fn a_body_has_to_come_in_time_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--message-timeout-s", "1"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let slow = connect(&server);
    (&slow).write_all(head(1000).as_bytes()).unwrap();
    (&slow).write_all(b"x").unwrap();
    let said = answer(&slow);
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(said.contains("--message-timeout-s"), "{said}");
    // One that ends before its end is answered by nobody, and leaves nothing behind.
    let broken = connect(&server);
    (&broken).write_all(head(1000).as_bytes()).unwrap();
    drop(broken);
    let file = png(pixels(&bundle.manifest().image, 0));
    assert_eq!(post(&server, &path("score"), &[], &file).status, 200);
}

#[tokio::test]
async fn slow_bodies_do_not_keep_probes_out() {
    let folder = tempfile::tempdir().unwrap();
    // Longer than the probe waits.
    let flags = ["--message-timeout-s", "600"];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    // More than there may be connections.
    let slow = (0..560).map(|_| {
        let stream = connect(&server);
        (&stream).write_all(head(1000).as_bytes()).unwrap();
        (&stream).write_all(b"x").unwrap();
        stream
    });
    let slow: Vec<_> = slow.collect();
    let mut probe = connect(&server);
    probe
        .write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .unwrap();
    let said = answer(&probe);
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    drop(slow);
}

#[tokio::test]
async fn large_bodies_share_a_budget_and_small_ones_have_room() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = [
        "--max-message-bytes",
        "1048576",
        "--max-request-memory-bytes",
        "8388608",
    ];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let file = png(pixels(&bundle.manifest().image, 0));
    // What follows a PNG file's end is no part of the image.
    let large = [file.clone(), vec![0; 1_000_000]].concat();
    assert_eq!(post(&server, &path("score"), &[], &large).status, 200);
    let mut begun = Vec::new();
    let mut refused = None;
    // One after the other: many at once may all be refused.
    eventually("the memory is used up", || {
        let mut stream = connect(&server);
        stream.write_all(head(1_000_000).as_bytes()).unwrap();
        // The last one may be refused before it has come.
        let _ = stream.write_all(&large[..900_000]);
        begun.push(stream);
        let answer = post(&server, &path("score"), &[], &large);
        let is_refused = answer.status == 429;
        refused = is_refused.then_some(answer);
        is_refused
    })
    .await;
    let refused = refused.unwrap();
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.problem(429)["reason"], "MEMORY_IN_USE");
    assert_eq!(post(&server, &path("score"), &[], &file).status, 200);
    drop(begun);
    eventually("the memory is given back", || {
        post(&server, &path("score"), &[], &large).status == 200
    })
    .await;
}

#[tokio::test]
async fn pages_of_other_origins_need_to_be_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let preflight = |server: &Server, origin: &str| {
        let url = format!("http://{}{}", server.http, path("score"));
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
        ];
        send_with(&agent(), "OPTIONS", &url, &headers, b"")
    };
    let allowed = "access-control-allow-origin";
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    assert_eq!(preflight(&server, "https://a.example").header(allowed), "");
    drop(server);
    let flags = ["--cors-origins", "https://a.example"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let answer = preflight(&server, "https://a.example");
    assert_eq!(answer.header(allowed), "https://a.example");
    assert!(
        answer
            .header("access-control-allow-headers")
            .contains("authorization")
    );
    assert_eq!(preflight(&server, "https://b.example").header(allowed), "");
    let file = png(pixels(&bundle.manifest().image, 0));
    let origin = [("origin", "https://a.example")];
    let answer = post(&server, &path("score"), &origin, &file);
    assert_eq!(answer.header(allowed), "https://a.example");
}

#[tokio::test]
async fn requests_under_way_are_answered_when_the_server_stops() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let mut server = Server::start(bundle.dir(), folder.path(), &ENDLESS);
    let file = png(pixels(&bundle.manifest().image, 0));
    let idle = connect(&server);
    let under_way = connect(&server);
    let path = format!("{}?steps=100000000&step_size=0.001", path("score"));
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a\r\nX-Request-Timeout-Ms: 4000\r\nContent-Length: {}\r\n\r\n",
        file.len()
    );
    (&under_way).write_all(head.as_bytes()).unwrap();
    (&under_way).write_all(&file).unwrap();
    eventually("it is under way", || {
        metric(&server, "lfbm_chains_running", "") == 1.0
    })
    .await;
    let pid = server.process.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    eventually("the server drains", || {
        let answer = http_get(&server, "/v1/models");
        answer.starts_with("HTTP/1.1 503") && answer.contains("DRAINING")
    })
    .await;
    assert!(http_get(&server, "/healthz").starts_with("HTTP/1.1 503"));
    assert!(http_get(&server, "/livez").starts_with("HTTP/1.1 200"));
    assert_eq!(answer(&idle), "");
    let said = answer(&under_way);
    assert!(said.starts_with("HTTP/1.1 504"), "{said}");
    assert!(server.process.wait().unwrap().success());
}
