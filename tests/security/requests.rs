//! What every request passes: ids, and the end of a panic.

use std::fs;
use std::task;
use std::time::Duration;

use futures_util::stream;
use lfbm_server::memory::Memory;
use lfbm_server::service::{Access, MessageLimits, RequestLayer};
use lfbm_server::telemetry::{Metrics, watch_panics};
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::{GetModelRequest, ListModelsRequest};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::common::{Server, bundle, command, eventually};

#[tokio::test]
async fn a_request_keeps_its_id_or_gets_one() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let mut command = command(bundle(folder.path()).dir());
    command
        .args(["--log", "lfbm_server=debug"])
        .stderr(fs::File::create(&log).unwrap());
    let server = Server::spawn(command, folder.path());
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut client = AnomalyDetectorClient::new(channel.connect().await.unwrap());
    let named = |id: &'static str| {
        let mut request = Request::new(ListModelsRequest {});
        request
            .metadata_mut()
            .insert("x-request-id", id.parse().unwrap());
        let mut client = client.clone();
        async move {
            let reply = client.list_models(request).await.unwrap();
            let id = reply.metadata().get("x-request-id").unwrap();
            id.to_str().unwrap().to_owned()
        }
    };
    assert_eq!(named("inspection-7/42").await, "inspection-7/42");
    // An id with a space could pretend to be more than an id in a log.
    let made = named("two words").await;
    assert_eq!(made.len(), 32, "{made}");
    assert_ne!(named("two words").await, made);
    let request = GetModelRequest {
        model: "other".to_owned(),
        version: 0,
    };
    let status = client.get_model(request).await.unwrap_err();
    let id = status.metadata().get("x-request-id").unwrap();
    assert_eq!(id.len(), 32);
    let logged = || fs::read_to_string(&log).unwrap();
    for id in ["inspection-7/42", id.to_str().unwrap()] {
        eventually("the id is in the log", || logged().contains(id)).await;
    }
}

/// A service whose methods panic: one before it answers, one while it does.
struct Broken;

#[tonic::async_trait]
impl Health for Broken {
    type WatchStream = stream::PollFn<fn(&mut task::Context<'_>) -> task::Poll<WatchItem>>;

    async fn check(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        panic!("a mistake")
    }

    async fn watch(
        &self,
        _: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(stream::poll_fn(|_| panic!("a mistake"))))
    }
}

type WatchItem = Option<Result<HealthCheckResponse, Status>>;

#[tokio::test]
async fn a_panic_is_internal_counted_and_ends_nothing_else() {
    let metrics = Metrics::new(10, "none").unwrap();
    watch_panics(metrics.clone());
    let descriptors = [tonic_health::pb::FILE_DESCRIPTOR_SET];
    let limits = MessageLimits {
        memory: Memory::new(64 << 20),
        max_bytes: 16 << 20,
        timeout: Duration::from_secs(30),
    };
    let access = Access {
        tokens: None,
        admin: None,
        open_health: true,
    };
    let layer = RequestLayer::new(metrics.clone(), access, limits, &descriptors).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = tonic::transport::Server::builder()
        .layer(layer)
        .add_service(HealthServer::new(Broken))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    // One connection for all: it survives.
    let channel = Channel::from_shared(url).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    for _ in 0..2 {
        let status = client.check(HealthCheckRequest::default()).await;
        let status = status.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status:?}");
        assert!(status.metadata().contains_key("x-request-id"));
        let watched = client.watch(HealthCheckRequest::default()).await.unwrap();
        let status = watched.into_inner().message().await.unwrap_err();
        assert_eq!(status.code(), Code::Internal, "{status:?}");
    }
    let text = String::from_utf8(metrics.text().unwrap().0).unwrap();
    assert!(text.contains("lfbm_panics_total 4"), "{text}");
    for method in ["Check", "Watch"] {
        let counted =
            format!(r#"lfbm_requests_total{{code="Internal",method="{method}",model=""}} 2"#);
        assert!(text.contains(&counted), "{text}");
    }
}
