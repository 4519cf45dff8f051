//! Every service takes and sends every compression.

use futures_util::stream;
use lfbm_wire::ListModelsRequest;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::inference::ServerLiveRequest;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use tonic::Code;
use tonic::codec::CompressionEncoding::{Deflate, Gzip, Zstd};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use crate::common::{Server, bundle};
use crate::forge::{ENCODINGS, Services, call, call_with, connect, framed};

#[tokio::test]
async fn clients_of_all_services_pack_as_they_like() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let channel = connect(&server.url).await;
    for encoding in [Gzip, Deflate, Zstd] {
        macro_rules! packing {
            ($client:expr) => {
                $client
                    .send_compressed(encoding)
                    .accept_compressed(encoding)
            };
        }
        let mut detector = packing!(AnomalyDetectorClient::new(channel.clone()));
        let models = detector.list_models(ListModelsRequest {}).await.unwrap();
        assert_eq!(models.into_inner().models.len(), 1);
        let mut inference = packing!(GrpcInferenceServiceClient::new(channel.clone()));
        let live = inference.server_live(ServerLiveRequest {}).await.unwrap();
        assert!(live.into_inner().live);
        let mut health = packing!(HealthClient::new(channel.clone()));
        let asked = HealthCheckRequest {
            service: "lfbm.v1.AnomalyDetector".to_owned(),
        };
        let health = health.check(asked).await.unwrap().into_inner();
        assert_eq!(health.status, 1, "{encoding}");
        macro_rules! reflected {
            ($version:ident) => {{
                use $version::server_reflection_client::ServerReflectionClient;
                use $version::server_reflection_request::MessageRequest;
                let mut client = packing!(ServerReflectionClient::new(channel.clone()));
                let request = $version::ServerReflectionRequest {
                    host: String::new(),
                    message_request: Some(MessageRequest::ListServices(String::new())),
                };
                let requests = stream::iter([request.clone(), request]);
                let replies = client.server_reflection_info(requests).await.unwrap();
                let mut replies = replies.into_inner();
                for _ in 0..2 {
                    let reply = replies.message().await.unwrap().unwrap();
                    assert!(format!("{reply:?}").contains("lfbm.v1.AnomalyDetector"));
                }
                assert!(replies.message().await.unwrap().is_none());
            }};
        }
        reflected!(v1);
        reflected!(v1alpha);
    }
}

#[tokio::test]
async fn every_rpc_takes_every_encoding_and_says_which_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let channel = connect(&server.url).await;
    for path in Services::all().methods.keys() {
        let plain = call(&channel, path, "identity", framed("identity", &[])).await;
        for encoding in ENCODINGS {
            let headers = [
                ("grpc-encoding", encoding),
                ("grpc-accept-encoding", encoding),
            ];
            let packed = call_with(&channel, path, framed(encoding, &[]), &headers).await;
            let code = |reply: &crate::forge::Reply| reply.trailers.get("grpc-status").cloned();
            assert_eq!(code(&packed), code(&plain), "{path} {encoding}: {packed:?}");
            if !packed.body.is_empty() && encoding != "identity" {
                assert_eq!(packed.headers["grpc-encoding"], encoding, "{path}");
                assert_eq!(packed.body[0], 1, "{path} {encoding}");
            }
            // Damaged, and packed without a word.
            let mut damaged = framed(encoding, b"no message");
            damaged[0] = 1;
            damaged.truncate(damaged.len() - 6);
            let length = (damaged.len() - 5) as u32;
            damaged[1..5].copy_from_slice(&length.to_be_bytes());
            let reply = call(&channel, path, encoding, damaged).await;
            assert_eq!(
                reply.code(),
                Code::InvalidArgument,
                "{path} {encoding}: {reply:?}"
            );
        }
        let reply = call(&channel, path, "br", framed("identity", &[])).await;
        assert_eq!(reply.code(), Code::Unimplemented, "{path}: {reply:?}");
        let accepted = &reply.headers["grpc-accept-encoding"];
        assert_eq!(accepted, "gzip,deflate,zstd,identity", "{path}");
    }
}
