//! Connections that stop at every step of the way to a first request, and after it: each loses its
//! place, a new client is answered, and none holds up a stop.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::{ListModelsRequest, ScoreStreamRequest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tonic::Code;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::common::{Server, bundle, client, encoded, eventually, http_get, metric, png};
use crate::http2::{framed, score_head, tcp};
use crate::{exit_status, terminate};

const PLACES: usize = 12;
/// Time-outs of the server under test, in seconds.
const TIMEOUT: &str = "2";
/// A machine that does other work besides.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a stop may take that waits for nobody: the second of the promise, and a busy machine's.
const STOP: Duration = Duration::from_secs(5);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const SETTINGS_ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
/// The head of a HEADERS frame of 40 bytes, END_HEADERS, stream 1, and one byte of it.
const HALF_HEADERS: &[u8] = &[0, 0, 40, 1, 4, 0, 0, 0, 1, 0x82];
/// HEADERS without END_HEADERS: a CONTINUATION would follow.
const HEADERS_TO_CONTINUE: &[u8] = &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82];

struct Fixture {
    server: Server,
    folder: tempfile::TempDir,
}

fn serve(flags: &[&str]) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let places = PLACES.to_string();
    let limits = [
        "--max-connections",
        &places,
        "--handshake-timeout-s",
        TIMEOUT,
        "--message-timeout-s",
        TIMEOUT,
        // A stop that waited for connections would be seen.
        "--drain-timeout-s",
        "50",
    ];
    let server = Server::start(bundle.dir(), folder.path(), &[&limits, flags].concat());
    Fixture { server, folder }
}

/// As many connections as there are places, each of which has one, has said `words` and says no more.
fn hold(server: &Server, words: &[u8]) -> Vec<TcpStream> {
    let address = server.url.strip_prefix("http://").unwrap();
    let started = Instant::now();
    let mut held = Vec::new();
    while held.len() < PLACES {
        assert!(started.elapsed() < PATIENCE, "{} have places", held.len());
        let mut more: Vec<_> = (held.len()..PLACES)
            .map(|_| {
                let mut stream = TcpStream::connect(address).unwrap();
                // One that is turned away may be closed already.
                let _ = stream.write_all(words);
                stream
            })
            .collect();
        std::thread::sleep(Duration::from_millis(200));
        more.retain_mut(is_open);
        held.extend(more);
    }
    held
}

fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let open = match stream.peek(&mut [0]) {
        Ok(bytes) => bytes > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).unwrap();
    open
}

/// Asks in new connections until there is an answer.
async fn a_new_client_is_answered(endpoint: &Endpoint) -> Duration {
    let started = Instant::now();
    let ask = async || {
        let channel = endpoint.connect().await?;
        let request = ListModelsRequest {};
        AnomalyDetectorClient::new(channel)
            .list_models(request)
            .await?;
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    while let Err(error) = ask().await {
        assert!(started.elapsed() < PATIENCE, "{error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    started.elapsed()
}

fn stops_at_once(server: &mut Server, what: &str) {
    let asked = Instant::now();
    terminate(&server.process);
    assert_eq!(exit_status(&mut server.process).code(), Some(0), "{what}");
    let took = asked.elapsed();
    println!("{what}: stopped after {took:?}");
    assert!(took < STOP, "{what}: {took:?}");
}

/// Reads until the server closes.
fn is_closed(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let read = stream.read_to_end(&mut Vec::new());
    let open = read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!open, "the connection is still open");
}

#[tokio::test]
async fn whoever_says_too_little_loses_the_place_and_holds_up_no_stop() {
    let said: [(&str, &[&[u8]]); 7] = [
        ("nothing", &[]),
        ("one byte", &[b"P"]),
        ("half a preface", &[&PREFACE[..10]]),
        ("a preface", &[PREFACE]),
        ("settings", &[PREFACE, SETTINGS, SETTINGS_ACK]),
        ("half of HEADERS", &[PREFACE, SETTINGS, HALF_HEADERS]),
        (
            "HEADERS that go on",
            &[PREFACE, SETTINGS, HEADERS_TO_CONTINUE],
        ),
    ];
    let Fixture { mut server, folder } = serve(&[]);
    let endpoint = Endpoint::from_shared(server.url.clone()).unwrap();
    for (what, words) in said {
        let refused = metric(&server, "lfbm_rejected_total", "connections");
        let mut held = hold(&server, &words.concat());
        // The places are taken: what comes now is turned away until time is up.
        let waited = a_new_client_is_answered(&endpoint).await;
        println!("{what}: answered after {waited:?}");
        let refused = metric(&server, "lfbm_rejected_total", "connections") - refused;
        assert!(refused > 0.0, "{what}: there was room");
        held.iter_mut().for_each(is_closed);
    }
    for (what, words) in said {
        let _held = hold(&server, &words.concat());
        stops_at_once(&mut server, what);
        server = serve_again(folder.path());
    }
}

/// A server whose time-outs are far away.
fn serve_again(folder: &Path) -> Server {
    let places = PLACES.to_string();
    let flags = [
        "--max-connections",
        &places,
        "--handshake-timeout-s",
        "600",
        "--drain-timeout-s",
        "50",
    ];
    Server::start(&folder.join("bundle"), folder, &flags)
}

/// A certificate for localhost, and its key.
fn certificate(folder: &Path) -> [String; 2] {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = [pair.cert.pem(), pair.signing_key.serialize_pem()];
    ["cert.pem", "key.pem"].map(|name| {
        let path = folder.join(name);
        fs::write(&path, &pem[usize::from(name == "key.pem")]).unwrap();
        path.to_str().unwrap().to_owned()
    })
}

/// A connection whose handshake is done, and which says no more.
fn shaken(
    address: &str,
    certificate: &str,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(certificate).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(client, TcpStream::connect(address).unwrap());
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// As many of them as there are places, once these are free.
fn hold_shaken(address: &str, certificate: &str) -> Vec<StreamOwned<ClientConnection, TcpStream>> {
    let deadline = Instant::now() + PATIENCE;
    let mut held = Vec::new();
    while held.len() < PLACES {
        held.extend(shaken(address, certificate));
        assert!(Instant::now() < deadline, "{} have a place", held.len());
    }
    held
}

#[tokio::test]
async fn over_tls_it_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = certificate(folder.path());
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let Fixture {
        mut server,
        folder: _bundle,
    } = serve(&tls);
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let config = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(fs::read(&cert).unwrap()))
        .domain_name("localhost");
    let endpoint = Endpoint::from_shared(format!("https://{address}"));
    let endpoint = endpoint.unwrap().tls_config(config).unwrap();
    let _half_shaken = hold(&server, b"\x16\x03\x01\x02\x00\x01");
    a_new_client_is_answered(&endpoint).await;
    let mut held = hold_shaken(&address, &cert);
    a_new_client_is_answered(&endpoint).await;
    held.iter_mut()
        .for_each(|stream| is_closed(&mut stream.sock));
    let _held = hold_shaken(&address, &cert);
    stops_at_once(&mut server, "TLS");
}

#[tokio::test]
async fn a_client_that_has_asked_once_may_wait_for_its_next_question() {
    let Fixture {
        server,
        folder: _folder,
    } = serve(&["--keep-alive-s", "1"]);
    let mut patient = client(&server).await;
    patient.list_models(ListModelsRequest {}).await.unwrap();
    let connections = || metric(&server, "lfbm_requests_total", "ListModels");
    assert_eq!(connections(), 1.0);
    // Several time-outs, and several signs of life.
    tokio::time::sleep(Duration::from_secs(7)).await;
    // By hand: a client would connect again without a word.
    let (mut sender, connection) = h2::client::handshake(tcp(&server).await).await.unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..2 {
        sender = sender.ready().await.unwrap();
        let (answer, mut body) = sender.send_request(score_head(&server), false).unwrap();
        body.send_data(framed(&encoded(Vec::new())), true).unwrap();
        answer.await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!connection.is_finished(), "it was sent away");
    }
    patient.list_models(ListModelsRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_connection_without_a_request_under_way_ends_when_the_settings_say() {
    let Fixture {
        server,
        folder: _folder,
    } = serve(&["--max-connection-idle-s", "1"]);
    let (mut sender, connection) = h2::client::handshake(tcp(&server).await).await.unwrap();
    let connection = tokio::spawn(connection);
    sender = sender.ready().await.unwrap();
    let (answer, mut body) = sender.send_request(score_head(&server), false).unwrap();
    body.send_data(framed(&encoded(Vec::new())), true).unwrap();
    answer.await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, connection).await.unwrap();
    // With GOAWAY, not with a broken connection.
    ended.unwrap().unwrap();
    assert!(sender.ready().await.is_err());
}

#[tokio::test]
async fn a_message_that_does_not_end_ends_its_call() {
    let Fixture {
        server,
        folder: _folder,
    } = serve(&[]);
    let request = framed(&encoded(image()));
    let (mut sender, connection) = h2::client::handshake(tcp(&server).await).await.unwrap();
    let connection = tokio::spawn(connection);
    // No byte of it, a part of its head, a part of it, all of it and no end of the call.
    for sent_bytes in [0, 3, request.len() / 2, request.len()] {
        sender = sender.ready().await.unwrap();
        let (answer, mut body) = sender.send_request(score_head(&server), false).unwrap();
        body.send_data(request.slice(..sent_bytes), false).unwrap();
        // A byte now and then is no message.
        let rest = request.slice(sent_bytes..);
        let dribble = async {
            for byte in rest.iter().take(100) {
                tokio::time::sleep(Duration::from_millis(300)).await;
                let byte = bytes::Bytes::copy_from_slice(&[*byte]);
                if body.send_data(byte, false).is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        let answer = tokio::time::timeout(PATIENCE, async {
            tokio::pin!(dribble, answer);
            tokio::select! {
                answer = &mut answer => answer,
                () = dribble => answer.await,
            }
        });
        let answer = answer.await.expect("the call goes on").unwrap();
        let code = answer.headers()["grpc-status"].to_str().unwrap().parse();
        assert_eq!(
            Code::from_i32(code.unwrap()),
            Code::DeadlineExceeded,
            "{sent_bytes}"
        );
    }
    assert!(
        !connection.is_finished(),
        "the connection ended with a call"
    );
    let mut fine = client(&server).await;
    fine.score(encoded(image())).await.unwrap();
}

fn image() -> Vec<u8> {
    png((0..28 * 28).map(|pixel| (pixel % 251) as u8).collect())
}

#[tokio::test]
async fn a_stream_may_wait_between_its_messages_and_not_within_them() {
    let Fixture {
        server,
        folder: _folder,
    } = serve(&[]);
    let message = |id: &str| ScoreStreamRequest {
        id: id.to_owned(),
        request: Some(encoded(image())),
    };
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut patient = client(&server).await;
    let questions = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut replies = patient.score_stream(questions).await.unwrap().into_inner();
    for id in ["a", "b"] {
        tokio::time::sleep(Duration::from_secs(4)).await;
        sender.send(message(id)).await.unwrap();
        assert_eq!(replies.message().await.unwrap().unwrap().id, id);
    }

    let (mut client, connection) = h2::client::handshake(tcp(&server).await).await.unwrap();
    tokio::spawn(connection);
    client = client.ready().await.unwrap();
    let (mut head, ()) = score_head(&server).into_parts();
    let path = format!("{}/lfbm.v1.AnomalyDetector/ScoreStream", server.url);
    head.uri = path.parse().unwrap();
    let head = http::Request::from_parts(head, ());
    let (answer, mut body) = client.send_request(head, false).unwrap();
    body.send_data(framed(&message("c")).slice(..20), false)
        .unwrap();
    let answer = answer.await.unwrap();
    let mut trailers = answer.into_body();
    let ended = tokio::time::timeout(PATIENCE, async {
        while trailers.data().await.transpose().unwrap().is_some() {}
        trailers.trailers().await.unwrap().unwrap()
    });
    assert_eq!(ended.await.expect("the stream goes on")["grpc-status"], "4");
}

#[tokio::test]
async fn what_is_under_way_in_an_old_connection_has_its_grace() {
    let age = [
        "--max-connection-age-s",
        "1",
        "--max-connection-age-grace-s",
        "1",
        "--max-steps",
        "100000000",
    ];
    let Fixture {
        server,
        folder: _folder,
    } = serve(&age);
    let endless = crate::common::endless(encoded(image()));
    let mut client = client(&server).await;
    let ended = tokio::time::timeout(PATIENCE, client.score(endless));
    ended.await.expect("it goes on").unwrap_err();
    eventually("its rows are free", || {
        metric(&server, "lfbm_chains_running", "") == 0.0
    })
    .await;
}

#[tokio::test]
async fn bad_requests_to_the_http_port_are_answered_and_slow_ones_are_cut_off() {
    let Fixture {
        server,
        folder: _folder,
    } = serve(&[]);
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(100_000));
    let headers = format!("GET /livez HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
    for (said, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", "200"),
        ("HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        ("GET /healthz?a=%ff&%00 HTTP/1.0\r\n\r\n", "200"),
        (
            "GET http://elsewhere/livez HTTP/1.1\r\nHost: a\r\n\r\n",
            "200",
        ),
        ("GET //healthz HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        (
            "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
            "405",
        ),
        ("GET /livez HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "400"),
        (
            "GET /livez HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "200",
        ),
        ("\0\0\0", "400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
        (&long, "4"),
        (&headers, "4"),
    ] {
        let mut stream = TcpStream::connect(&server.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The server may answer before it has read everything.
        let _ = stream.write_all(said.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        let expected = answer.is_empty() || answer.split(' ').nth(1).unwrap().starts_with(status);
        assert!(expected, "{said:.60}: {answer:.60}");
        let may_be_cut = status != "200" && status != "404" && status != "405";
        assert!(may_be_cut || !answer.is_empty(), "{said:.60}: no answer");
    }
    let mut slow = TcpStream::connect(&server.http).unwrap();
    let started = Instant::now();
    for byte in b"GET /metrics HTTP/1.1\r\nHost: somewhere\r\n"
        .iter()
        .cycle()
    {
        if slow.write_all(&[*byte]).is_err() {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "it is still listened to");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(http_get(&server, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(metric(&server, "lfbm_panics_total", ""), 0.0);
}
