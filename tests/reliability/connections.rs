//! Connections that say nothing, and connections that say nonsense.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::common::{Server, bundle, client, encoded, metric, pixels, png, resident_bytes};
use crate::http2::{framed, score_head, tcp};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];

/// Raises the limit on open files as far as it goes; children inherit it. How many there may be.
fn open_files() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` lives through both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    usize::try_from(limit.rlim_cur).unwrap()
}

#[tokio::test]
async fn ten_thousand_idle_connections_cost_little() {
    const SPARE_FILES: usize = 500;
    const BYTES_PER_CONNECTION: usize = 32 * 1024;
    let count = (open_files().saturating_sub(SPARE_FILES)).min(10_000);
    assert!(count >= 2_000, "the limit on open files is too low to tell");
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let patient = ["--handshake-timeout-s", "600"];
    let server = Server::start(bundle.dir(), folder.path(), &patient);
    let request = encoded(png(pixels(&bundle.manifest().image, 0)));
    client(&server).await.score(request.clone()).await.unwrap();
    let before = resident_bytes(&server);
    let address = server.url.strip_prefix("http://").unwrap();
    let connections: Vec<_> = (0..count)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(PREFACE).unwrap();
            stream.write_all(EMPTY_SETTINGS).unwrap();
            // The server's settings: it has made its part of the connection.
            stream.read_exact(&mut [0; 9]).unwrap();
            stream
        })
        .collect();
    client(&server).await.score(request).await.unwrap();
    let each = resident_bytes(&server).saturating_sub(before) / connections.len();
    println!("{count} idle connections, {each} bytes each");
    assert!(each < BYTES_PER_CONNECTION, "{each} bytes a connection");
}

#[tokio::test]
async fn nonsense_on_the_grpc_port_is_shrugged_off() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let address = server.url.strip_prefix("http://").unwrap();
    let noise: Vec<u8> = (0_u32..65_536)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let huge_frame = [0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1];
    let headers_that_do_not_decode = [0, 0, 4, 1, 4, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
    for nonsense in [
        b"GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        noise.clone(),
        [PREFACE, &noise].concat(),
        [PREFACE, EMPTY_SETTINGS, &huge_frame, &noise].concat(),
        [PREFACE, EMPTY_SETTINGS, &headers_that_do_not_decode].concat(),
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // The server may close before it has read everything.
        let _ = stream.write_all(&nonsense);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let closed = stream.read_to_end(&mut Vec::new());
        let timed_out = closed.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        assert!(!timed_out, "the connection is still open: {nonsense:.20?}");
    }
    let request = encoded(png(pixels(&bundle.manifest().image, 0)));
    client(&server).await.score(request).await.unwrap();
    assert_eq!(metric(&server, "lfbm_requests_total", ""), 1.0);
}

#[tokio::test]
async fn an_old_connection_closes_once_its_requests_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let age = ["--max-connection-age-s", "5"];
    let server = Server::start(bundle.dir(), folder.path(), &age);
    let request = encoded(png(pixels(&bundle.manifest().image, 0)));
    let (client, connection) = h2::client::handshake(tcp(&server).await).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let (answer, mut body) = client.send_request(score_head(&server), false).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while client.clone().ready().await.is_ok() {
        assert!(Instant::now() < deadline, "no GOAWAY within a minute");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!connection.is_finished(), "a request was cut off");
    body.send_data(framed(&request), true).unwrap();
    let answer = answer.await.unwrap();
    assert!(!answer.headers().contains_key("grpc-status"), "{answer:?}");
    let mut score = answer.into_body();
    while score.data().await.transpose().unwrap().is_some() {}
    let trailers = score.trailers().await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    drop((client, score));
    connection.await.unwrap().unwrap();
}
