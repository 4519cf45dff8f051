//! What the calls beside `Score` answer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod calibration;
mod determinism;
mod encoder;
mod finite;
mod held;
mod images;
mod imported;
mod priors;
mod samples;
mod streams;

use std::time::Duration;

use common::{Server, bundle, client, encoded, endless, pixels, png};
use futures_util::stream;
use lfbm_wire::score_stream_response::Result as Scored;
use lfbm_wire::{ExplainRequest, ScoreRequest, ScoreStreamRequest};
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

fn in_stream(id: impl ToString, request: ScoreRequest) -> ScoreStreamRequest {
    ScoreStreamRequest {
        id: id.to_string(),
        request: Some(request),
    }
}

#[tokio::test]
async fn every_model_has_a_health_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--model-poll-s", "1"];
    let server = Server::start(folder.path(), folder.path(), &flags);
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    let mut status = async |service: &str| {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        health
            .check(request)
            .await
            .map(|reply| reply.into_inner().status())
    };
    let name = "lfbm.v1.Model/random-mlp";
    for service in ["", "lfbm.v1.AnomalyDetector", name] {
        assert_eq!(status(service).await.unwrap(), ServingStatus::Serving);
    }
    let unknown = status("lfbm.v1.Model/other").await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    std::fs::remove_dir_all(bundle.dir()).unwrap();
    for _ in 0..600 {
        if status(name).await.is_err() {
            assert_eq!(status("").await.unwrap(), ServingStatus::NotServing);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the model is gone and its health is not");
}

#[tokio::test]
async fn a_deadline_ends_every_call() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--max-steps", "100000000"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let mut client = client(&server).await;
    let long = endless(encoded(png(pixels(&bundle.manifest().image, 0))));
    let mut explain = Request::new(ExplainRequest {
        image: long.image.clone(),
        inference: long.inference,
        ..Default::default()
    });
    explain.set_timeout(Duration::from_millis(300));
    let status = client.explain(explain).await.unwrap_err();
    let late = [Code::DeadlineExceeded, Code::Cancelled];
    assert!(late.contains(&status.code()), "{status:?}");
    let requests = stream::iter([in_stream("long", long)]);
    let mut requests = Request::new(requests);
    requests.set_timeout(Duration::from_millis(300));
    let mut replies = client.score_stream(requests).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap();
    let Some(Scored::Error(error)) = reply.result else {
        panic!("{reply:?}");
    };
    assert_eq!(error.code, Code::DeadlineExceeded as i32, "{error:?}");
}
