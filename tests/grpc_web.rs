//! gRPC-web: what a page in a browser sends, over HTTP/1.1, to a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use common::{Server, bundle, client, encoded, metric, png};
use lfbm_wire::{ListModelsRequest, ScoreRequest, ScoreResponse, ScoreStreamRequest};
use lfbm_wire::{ScoreStreamResponse, score_stream_response};
use prost::Message;
use rcgen::generate_simple_self_signed;
use ureq::Agent;
use ureq::http::{HeaderMap, Request, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const SCORE: &str = "/lfbm.v1.AnomalyDetector/Score";
const PAGE: &str = "https://inspection.example";
const BINARY: &str = "application/grpc-web+proto";
const TEXT: &str = "application/grpc-web-text";

/// An answer: messages, and the status from the trailers in the body or from the head.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    messages: Vec<Vec<u8>>,
    trailers: BTreeMap<String, String>,
}

impl Answer {
    fn grpc_status(&self) -> &str {
        let head = self.headers.get("grpc-status");
        let head = head.map(|value| value.to_str().unwrap());
        let trailer = self.trailers.get("grpc-status").map(String::as_str);
        head.or(trailer)
            .unwrap_or_else(|| panic!("no status: {self:?}"))
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }
}

/// Messages of gRPC, framed.
fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for message in messages {
        body.push(0);
        body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend(message);
    }
    body
}

fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true);
    config.build().into()
}

fn send(agent: &Agent, method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = agent.run(request.body(body).unwrap()).unwrap();
    let mut body = response.body_mut().read_to_vec().unwrap();
    let headers = response.headers().clone();
    if headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(TEXT.as_bytes()))
    {
        // Every frame is padded by itself.
        let groups = body
            .chunks(4)
            .map(|group| BASE64_STANDARD.decode(group).unwrap());
        body = groups.collect::<Vec<_>>().concat();
    }
    let (mut messages, mut trailers) = (Vec::new(), BTreeMap::new());
    let mut rest = &body[..];
    while let [flag, a, b, c, d, after @ ..] = rest {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (frame, after) = after.split_at(length);
        if *flag == 0x80 {
            let lines = std::str::from_utf8(frame).unwrap().lines();
            let pairs = lines.map(|line| line.split_once(':').unwrap());
            trailers.extend(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())));
        } else {
            messages.push(frame.to_vec());
        }
        rest = after;
    }
    Answer {
        status: response.status(),
        headers,
        messages,
        trailers,
    }
}

/// Calls a method as a page does.
fn call(server: &Server, path: &str, headers: &[(&str, &str)], messages: &[Vec<u8>]) -> Answer {
    let headers = [&[("content-type", BINARY), ("x-grpc-web", "1")], headers].concat();
    let url = format!("{}{path}", server.url);
    send(&agent(), "POST", &url, &headers, &framed(messages))
}

fn image() -> ScoreRequest {
    encoded(png((0..28 * 28).map(|pixel| (pixel % 251) as u8).collect()))
}

#[tokio::test]
async fn a_page_gets_the_score_that_grpc_gives() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--grpc-web", "true", "--cors-origins", PAGE];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let mut client = client(&server).await;
    let expected = client.score(image()).await.unwrap().into_inner();
    let message = image().encode_to_vec();
    let url = format!("{}{SCORE}", server.url);
    let text = BASE64_STANDARD.encode(framed(std::slice::from_ref(&message)));
    for (kind, body) in [
        (BINARY, framed(std::slice::from_ref(&message))),
        (TEXT, text.into_bytes()),
    ] {
        let headers = [
            ("content-type", kind),
            ("accept", kind),
            ("origin", PAGE),
            ("x-request-id", "from-a-page"),
        ];
        let answer = send(&agent(), "POST", &url, &headers, &body);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.grpc_status(), "0");
        assert_eq!(answer.header("x-request-id"), "from-a-page");
        assert_eq!(answer.header("access-control-allow-origin"), PAGE);
        let exposed = answer.header("access-control-expose-headers");
        assert!(
            exposed.contains("grpc-status") && exposed.contains("grpc-message"),
            "{exposed}"
        );
        let [score] = &answer.messages[..] else {
            panic!("expected one message: {answer:?}");
        };
        let score = ScoreResponse::decode(&score[..]).unwrap();
        assert_eq!(score.log_joint, expected.log_joint);
        assert_eq!(score.local_p_value, expected.local_p_value);
    }
    // A stream whose requests all come first.
    let messages = ["a", "b"].map(|id| {
        let request = Some(image());
        let id = id.to_owned();
        ScoreStreamRequest { id, request }.encode_to_vec()
    });
    let answer = call(
        &server,
        "/lfbm.v1.AnomalyDetector/ScoreStream",
        &[],
        &messages,
    );
    assert_eq!(answer.grpc_status(), "0");
    assert_eq!(answer.messages.len(), 2);
    for message in &answer.messages {
        let reply = ScoreStreamResponse::decode(&message[..]).unwrap();
        let Some(score_stream_response::Result::Score(score)) = reply.result else {
            panic!("expected a score: {reply:?}");
        };
        assert_eq!(score.log_joint, expected.log_joint);
    }
    let of_pages = r#"code="Ok",method="Score""#;
    assert_eq!(metric(&server, "lfbm_requests_total", of_pages), 3.0);
}

#[tokio::test]
async fn a_browser_asks_before_and_other_origins_are_not_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "alpha").unwrap();
    let tokens = tokens.to_str().unwrap();
    let flags = [
        "--grpc-web",
        "true",
        "--cors-origins",
        PAGE,
        "--auth-tokens-file",
        tokens,
    ];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let url = format!("{}{SCORE}", server.url);
    let preflight = |origin: &str| {
        let asked = "authorization,content-type,grpc-timeout,x-grpc-web,x-user-agent";
        let headers = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", asked),
        ];
        send(&agent(), "OPTIONS", &url, &headers, b"")
    };
    // Browsers send no token with it.
    let allowed = preflight(PAGE);
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), PAGE);
    assert_eq!(allowed.header("access-control-allow-methods"), "POST");
    let headers = allowed.header("access-control-allow-headers");
    for name in [
        "authorization",
        "content-type",
        "grpc-timeout",
        "x-grpc-web",
        "x-user-agent",
    ] {
        assert!(
            headers.split(',').any(|allowed| allowed.trim() == name),
            "{name}: {headers}"
        );
    }
    let refused = preflight("https://other.example");
    assert_eq!(refused.header("access-control-allow-origin"), "");
    // A page that is allowed reads why it gets no score.
    let stranger = call(
        &server,
        SCORE,
        &[("origin", PAGE)],
        &[image().encode_to_vec()],
    );
    assert_eq!(stranger.grpc_status(), "16");
    assert_eq!(stranger.header("access-control-allow-origin"), PAGE);
    let token = ("authorization", "Bearer alpha");
    let known = call(&server, SCORE, &[token], &[image().encode_to_vec()]);
    assert_eq!(known.grpc_status(), "0");
    assert_eq!(known.messages.len(), 1);
}

#[tokio::test]
async fn limits_and_errors_are_those_of_grpc() {
    let folder = tempfile::tempdir().unwrap();
    let flags = [
        "--grpc-web",
        "true",
        "--max-message-bytes",
        "65536",
        "--message-timeout-s",
        "1",
        "--handshake-timeout-s",
        "1",
    ];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    for (path, message, status) in [
        (SCORE, encoded(b"no image".to_vec()).encode_to_vec(), "3"),
        (SCORE, encoded(vec![0; 65536]).encode_to_vec(), "3"),
        (SCORE, vec![0xff; 100], "3"),
        ("/lfbm.v1.AnomalyDetector/Forget", Vec::new(), "12"),
    ] {
        let answer = call(&server, path, &[], &[message]);
        assert_eq!(answer.grpc_status(), status, "{path}: {answer:?}");
        assert!(answer.messages.is_empty());
    }
    // Nothing else is spoken over HTTP/1.1.
    let url = format!("{}{SCORE}", server.url);
    for kind in ["application/grpc", "application/json"] {
        let answer = send(&agent(), "POST", &url, &[("content-type", kind)], b"{}");
        assert_eq!(answer.status, 400, "{kind}");
    }
    // A body that stops, and a head that does.
    let address = server.url.strip_prefix("http://").unwrap();
    let exchange = |text: &str| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        assert!(ended.is_ok(), "the connection stays: {ended:?}");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let head = format!(
        "POST {SCORE} HTTP/1.1\r\nhost: test\r\ncontent-type: {BINARY}\r\ncontent-length: 100\r\n"
    );
    let late = exchange(&format!("{head}\r\n\0\0\0\0"));
    assert!(late.contains("grpc-status: 4"), "{late}");
    let answer = exchange(&head);
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(exchange(""), "");
    let mut client = client(&server).await;
    client.list_models(ListModelsRequest {}).await.unwrap();
}

#[tokio::test]
async fn without_the_setting_only_http_2_is_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let mut stream = TcpStream::connect(server.url.strip_prefix("http://").unwrap()).unwrap();
    let request = format!("POST {SCORE} HTTP/1.1\r\nhost: test\r\ncontent-type: {BINARY}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // It may be closed before all is read.
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1"), "{answer:?}");
}

#[tokio::test]
async fn a_page_that_stays_does_not_hold_a_stop_up() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--grpc-web", "true", "--drain-timeout-s", "600"];
    let mut server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    // The agent keeps its connection.
    let (agent, url) = (agent(), format!("{}{SCORE}", server.url));
    let body = framed(&[image().encode_to_vec()]);
    let answer = send(&agent, "POST", &url, &[("content-type", BINARY)], &body);
    assert_eq!(answer.grpc_status(), "0");
    let id = server.process.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
    drop(agent);
}

#[tokio::test]
async fn over_tls_browsers_speak_http_1_1_and_clients_http_2() {
    let folder = tempfile::tempdir().unwrap();
    let pair = generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let [cert, key] = [
        ("cert.pem", pair.cert.pem()),
        ("key.pem", pair.signing_key.serialize_pem()),
    ]
    .map(|(name, text)| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let flags = ["--grpc-web", "true", "--tls-cert", &cert, "--tls-key", &key];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let root = Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(vec![root])))
        .build();
    let over_tls: Agent = Agent::config_builder().tls_config(tls).build().into();
    let url = format!("{}{SCORE}", server.url);
    let body = framed(&[image().encode_to_vec()]);
    let headers = [("content-type", BINARY)];
    let https = url.replace("http://", "https://");
    let answer = send(&over_tls, "POST", &https, &headers, &body);
    assert_eq!(answer.grpc_status(), "0");
    let plain = agent()
        .post(&url)
        .header("content-type", BINARY)
        .send(&body[..]);
    assert!(plain.is_err(), "{plain:?}");
    let tls = tonic::transport::ClientTlsConfig::new()
        .ca_certificate(tonic::transport::Certificate::from_pem(pair.cert.pem()));
    let address = url.replace("http://", "https://").replace(SCORE, "");
    let channel = tonic::transport::Channel::from_shared(address).unwrap();
    let channel = channel.tls_config(tls).unwrap().connect().await.unwrap();
    let mut client = lfbm_wire::anomaly_detector_client::AnomalyDetectorClient::new(channel);
    client.list_models(ListModelsRequest {}).await.unwrap();
}
