//! Clients that give up, and clients that do not read.

use std::time::{Duration, Instant};

use bytes::Bytes;
use lfbm_wire::ScoreStreamRequest;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use tonic::transport::Endpoint;

use crate::common::{Server, bundle, client, encoded, endless, eventually, metric, pixels, png};
use crate::http2::{framed, score_head, tcp};

const METRICS_OF_ROWS: [&str; 2] = ["lfbm_chains_waiting", "lfbm_chains_running"];

async fn no_row_is_in_use(server: &Server) {
    for name in METRICS_OF_ROWS {
        eventually(name, || metric(server, name, "") == 0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_cancellations_a_second_leave_nothing_behind() {
    const CHAINS: &str = "64";
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = [
        "--max-steps",
        "100000000",
        "--max-chains",
        CHAINS,
        "--max-chains-in-flight",
        CHAINS,
    ];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let client = client(&server).await;
    let image = encoded(png(pixels(&bundle.manifest().image, 0)));
    let endless = endless(image.clone());
    // Somebody else's request on the same connection.
    let innocent = tokio::spawn({
        let (mut client, request) = (client.clone(), endless.clone());
        async move { client.score(request).await }
    });
    eventually("it runs", || {
        metric(&server, "lfbm_chains_running", "") == 1.0
    })
    .await;
    for tick in 0..30 {
        let due = Instant::now() + Duration::from_millis(100);
        for _ in 0..100 {
            let (mut client, request) = (client.clone(), endless.clone());
            let patience = Duration::from_millis(tick % 5);
            tokio::spawn(async move {
                let _ = tokio::time::timeout(patience, client.score(request)).await;
            });
        }
        tokio::time::sleep_until(due.into()).await;
    }
    assert!(!innocent.is_finished(), "{:?}", innocent.await);
    innocent.abort();
    no_row_is_in_use(&server).await;
    let gave_up = metric(&server, "lfbm_requests_total", "Cancelled");
    assert!(gave_up > 0.0, "nothing was cancelled");
    // All the room there is has come back.
    let mut whole = image;
    whole.inference.get_or_insert_default().chains = Some(64);
    let mut client = client;
    client.score(whole).await.unwrap();
}

#[tokio::test]
async fn requests_that_are_broken_off_are_the_clients_doing() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let request = framed(&encoded(png(pixels(&bundle.manifest().image, 0))));
    let (mut client, mut connection) = h2::client::handshake(tcp(&server).await).await.unwrap();
    let mut ping = connection.ping_pong().unwrap();
    let connection = tokio::spawn(connection);
    for sent_bytes in [0, 3, request.len() / 2] {
        client = client.ready().await.unwrap();
        let (_, mut body) = client.send_request(score_head(&server), false).unwrap();
        body.send_data(request.slice(..sent_bytes), false).unwrap();
        // An answer to what is sent with it, or after it: then it is on its way.
        ping.ping(h2::Ping::opaque()).await.unwrap();
        body.send_reset(h2::Reason::CANCEL);
    }
    let counted = |code: &str| metric(&server, "lfbm_requests_total", code);
    eventually("they are counted", || counted("") == 3.0).await;
    assert_eq!(counted("Cancelled"), 3.0);
    connection.abort();
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let request = encoded(png(pixels(&bundle.manifest().image, 0)));
    let stream = tcp(&server).await;
    // No byte of an answer's body may be sent to it.
    let (mut deaf, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..100 {
        deaf = deaf.ready().await.unwrap();
        let (answer, mut body) = deaf.send_request(score_head(&server), false).unwrap();
        body.send_data(framed(&request), true).unwrap();
        answers.push(answer);
    }
    eventually("its requests are computed", || {
        metric(&server, "lfbm_compute_duration_seconds_count", "") >= 100.0
    })
    .await;
    no_row_is_in_use(&server).await;
    client(&server).await.score(request).await.unwrap();
    assert!(!connection.is_finished(), "the server sent it away");
    connection.abort();
}

#[tokio::test]
async fn a_stream_that_nobody_reads_is_not_computed_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut request = encoded(png(pixels(&bundle.manifest().image, 0)));
    request.inference.get_or_insert_default().steps = Some(1);
    let endpoint = Endpoint::from_shared(server.url.clone()).unwrap();
    let channel = endpoint.initial_stream_window_size(1).connect().await;
    let mut deaf = AnomalyDetectorClient::new(channel.unwrap());
    let endless = (0..).map({
        let request = request.clone();
        move |id: u64| ScoreStreamRequest {
            id: id.to_string(),
            request: Some(request.clone()),
        }
    });
    let replies = deaf
        .score_stream(tokio_stream::iter(endless))
        .await
        .unwrap();
    let scored = || metric(&server, "lfbm_compute_duration_seconds_count", "") as u64;
    let mut before = 0;
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let now = scored();
        if now > 0 && now == before {
            break;
        }
        assert!(Instant::now() < deadline, "{now} scores, and it goes on");
        before = now;
    }
    no_row_is_in_use(&server).await;
    client(&server).await.score(request).await.unwrap();
    println!("{before} scores were made for a client that read none");
    drop(replies);
}
