//! Bearer tokens.

use std::fs;

use lfbm_wire::ListModelsRequest;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::{
    ModelReadyRequest, ServerLiveRequest, ServerMetadataRequest, ServerReadyRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::common::{Server, bundle, http_get, http_get_with};
use crate::wait_for;

fn with_token<T>(message: T, authorization: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = authorization.parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

#[tokio::test]
async fn a_token_is_needed_and_the_file_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "# team a\nalpha\nbeta\n").unwrap();
    let flags = ["--auth-tokens-file", tokens.to_str().unwrap()];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut client = AnomalyDetectorClient::new(channel.clone());
    for good in ["Bearer alpha", "bearer beta"] {
        let request = with_token(ListModelsRequest {}, good);
        client.list_models(request).await.unwrap();
    }
    for bad in [
        "Bearer gamma",
        "Bearer alph",
        "Bearer ",
        "alpha",
        "Basic alpha",
    ] {
        let request = with_token(ListModelsRequest {}, bad);
        let status = client.list_models(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{bad}");
    }
    let status = client.list_models(ListModelsRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(status.metadata().contains_key("x-request-id"));
    // Probes need none.
    let mut health = HealthClient::new(channel.clone());
    health.check(HealthCheckRequest::default()).await.unwrap();
    let mut v2 = GrpcInferenceServiceClient::new(channel);
    v2.server_live(ServerLiveRequest {}).await.unwrap();
    v2.server_ready(ServerReadyRequest {}).await.unwrap();
    v2.model_ready(ModelReadyRequest::default()).await.unwrap();
    let status = v2.server_metadata(ServerMetadataRequest {}).await;
    assert_eq!(status.unwrap_err().code(), Code::Unauthenticated);
    let metrics = http_get(&server, "/metrics");
    let refused = r#"lfbm_requests_total{code="Unauthenticated",method="ListModels",model=""} 6"#;
    assert!(metrics.contains(refused), "{metrics}");

    fs::write(&tokens, "").unwrap();
    let reloads =
        |result: &str| format!(r#"lfbm_reloads_total{{files="auth tokens",result="{result}"}} 1"#);
    wait_for(&server, &reloads("failed")).await;
    let request = with_token(ListModelsRequest {}, "Bearer alpha");
    client.list_models(request).await.unwrap();
    fs::write(&tokens, "gamma\n").unwrap();
    wait_for(&server, &reloads("ok")).await;
    let request = with_token(ListModelsRequest {}, "Bearer gamma");
    client.list_models(request).await.unwrap();
    let request = with_token(ListModelsRequest {}, "Bearer alpha");
    client.list_models(request).await.unwrap_err();
}

#[tokio::test]
async fn health_and_metrics_can_be_closed_too() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = folder.path().join("tokens");
    fs::write(&tokens, "alpha").unwrap();
    let flags = [
        "--auth-tokens-file",
        tokens.to_str().unwrap(),
        "--auth-open-health",
        "false",
    ];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut v2 = GrpcInferenceServiceClient::new(channel.clone());
    let status = v2.server_live(ServerLiveRequest {}).await;
    assert_eq!(status.unwrap_err().code(), Code::Unauthenticated);
    let mut health = HealthClient::new(channel);
    let status = health.check(HealthCheckRequest::default()).await;
    assert_eq!(status.unwrap_err().code(), Code::Unauthenticated);
    let request = with_token(HealthCheckRequest::default(), "Bearer alpha");
    health.check(request).await.unwrap();
    assert!(http_get(&server, "/metrics").starts_with("HTTP/1.1 401"));
    let token = "Authorization: Bearer alpha\r\n";
    assert!(http_get_with(&server, "/metrics", token).starts_with("HTTP/1.1 200"));
}
