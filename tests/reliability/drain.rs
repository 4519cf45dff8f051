//! SIGTERM: nobody notices who looks at the health, nothing in flight is lost.

use std::time::{Duration, Instant};

use lfbm_wire::InferenceParameters;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::common::{
    Server, bundle, client, encoded, endless, eventually, http_get, metric, pixels, png,
};
use crate::{exit_status, terminate};

#[tokio::test]
async fn a_stop_is_announced_then_refuses_what_is_new_and_finishes_what_is_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = [
        "--drain-grace-s",
        "1",
        "--drain-timeout-s",
        "50",
        "--max-steps",
        "20000",
    ];
    let mut server = Server::start(bundle.dir(), folder.path(), &flags);
    let short = encoded(png(pixels(&bundle.manifest().image, 0)));
    let mut long = short.clone();
    long.inference = Some(InferenceParameters {
        steps: Some(20_000),
        step_size: Some(0.001),
        ..Default::default()
    });
    let mut idle = client(&server).await;
    idle.score(short.clone()).await.unwrap();
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    let watched = health.watch(HealthCheckRequest::default()).await.unwrap();
    let mut watched = watched.into_inner();
    let mut next_status = async || watched.next().await.unwrap().unwrap().status();
    assert_eq!(next_status().await, ServingStatus::Serving);

    let mut busy = client(&server).await;
    let in_flight = tokio::spawn(async move { busy.score(long).await });
    eventually("the long request runs", || {
        metric(&server, "lfbm_chains_running", "") > 0.0
    })
    .await;
    terminate(&server.process);
    assert_eq!(next_status().await, ServingStatus::NotServing);
    assert!(http_get(&server, "/healthz").starts_with("HTTP/1.1 503"));
    idle.score(short.clone()).await.unwrap();

    // The grace is over when the health's watchers are sent away.
    assert!(watched.next().await.is_none());
    let deadline = Instant::now() + Duration::from_secs(60);
    let refused = loop {
        assert!(Instant::now() < deadline, "requests are still taken");
        match idle.score(short.clone()).await {
            Ok(_) => {}
            // One that crosses the server's GOAWAY ends with its connection.
            Err(status) if status.message() == "transport error" => {}
            Err(status) => break status,
        }
    };
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    in_flight.await.unwrap().unwrap();
    // Clients that keep their connections do not hold the server up.
    assert_eq!(exit_status(&mut server.process).code(), Some(0));
}

#[tokio::test]
async fn what_takes_longer_than_the_drain_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--drain-timeout-s", "1", "--max-steps", "100000000"];
    let mut server = Server::start(bundle.dir(), folder.path(), &flags);
    let request = endless(encoded(png(pixels(&bundle.manifest().image, 0))));
    let mut client = client(&server).await;
    let in_flight = tokio::spawn(async move { client.score(request).await });
    eventually("the request runs", || {
        metric(&server, "lfbm_chains_running", "") > 0.0
    })
    .await;
    terminate(&server.process);
    assert_eq!(exit_status(&mut server.process).code(), Some(0));
    in_flight.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--drain-grace-s", "600"];
    let mut server = Server::start(bundle.dir(), folder.path(), &flags);
    let stopped = Instant::now();
    terminate(&server.process);
    eventually("the drain begins", || {
        http_get(&server, "/healthz").starts_with("HTTP/1.1 503")
    })
    .await;
    terminate(&server.process);
    assert_eq!(exit_status(&mut server.process).code(), Some(1));
    assert!(stopped.elapsed() < Duration::from_secs(120));
}
