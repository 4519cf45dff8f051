//! What comes back of what a client sent: a status that every client can read.

use prost_types::field_descriptor_proto::Type;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::common::{Server, bundle};
use crate::forge::{Services, call, call_with, connect, delimited, framed, varint};

/// What RFC-minded clients take at least; most take 8 KiB.
const MAX_METADATA_BYTES: usize = 4096;

#[tokio::test]
async fn no_text_of_a_client_makes_a_status_too_long_to_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let channel = connect(&server.url).await;
    let services = Services::all();
    for (path, input) in &services.methods {
        for place in services.places(input) {
            let number = place.field().number();
            let contents: Vec<Vec<u8>> = match place.field().r#type() {
                Type::String | Type::Bytes => ["x", "\u{e9}", "\u{1f600}", "%", "\n", "\""]
                    .iter()
                    .flat_map(|text| [1500, 6000, 300_000].map(|count| text.repeat(count)))
                    .map(|text| delimited(number, text.as_bytes()))
                    .collect(),
                _ if place.is_repeated() && place.zero().is_some() => {
                    vec![delimited(number, &varint(u64::MAX >> 1).repeat(1000))]
                }
                _ => continue,
            };
            for content in contents {
                let frames = framed("identity", &place.message(content));
                let reply = call(&channel, path, "identity", frames).await;
                let bytes = reply.metadata_bytes();
                let head = (&reply.headers, &reply.trailers);
                assert!(
                    bytes <= MAX_METADATA_BYTES,
                    "{path} {}: {bytes} bytes: {head:?}",
                    place.name()
                );
                assert!(reply.body.len() <= 4 << 20, "{path} {}", place.name());
            }
        }
    }
}

async fn model_infer(channel: &tonic::transport::Channel, message: &[u8]) -> Status {
    let path = "/inference.GRPCInferenceService/ModelInfer";
    let reply = call(channel, path, "identity", framed("identity", message)).await;
    assert!(reply.metadata_bytes() <= MAX_METADATA_BYTES);
    Status::from_header_map(&reply.headers).unwrap()
}

#[tokio::test]
async fn the_status_is_the_one_that_was_meant() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let channel = connect(&server.url).await;
    let name = "m".repeat(6000);
    for path in [
        "/lfbm.v1.AnomalyDetector/GetModel",
        "/lfbm.v1.AnomalyDetector/Score",
        "/lfbm.v1.AnomalyDetector/Explain",
        "/lfbm.v1.AnomalyDetector/Inpaint",
        "/lfbm.v1.AnomalyDetector/Sample",
        "/inference.GRPCInferenceService/ModelMetadata",
        "/inference.GRPCInferenceService/ModelInfer",
    ] {
        let frames = framed("identity", &delimited(1, name.as_bytes()));
        let reply = call(&channel, path, "identity", frames).await;
        assert_eq!(reply.code(), Code::NotFound, "{path}: {reply:?}");
        let message = reply.message();
        assert!(message.contains("mmm..."), "{path}: {message}");
        assert!(message.contains("random-mlp"), "{path}: {message}");
        let status = Status::from_header_map(&reply.headers).unwrap();
        let details = status.get_error_details();
        let resource = details.resource_info().unwrap();
        assert!(resource.resource_name.len() <= 103, "{resource:?}");
    }

    let parameters: Vec<u8> = (0..500)
        .flat_map(|index| {
            let name = format!("unknown-{index}-{}", "y".repeat(2000));
            delimited(4, &delimited(1, name.as_bytes()))
        })
        .collect();
    let status = model_infer(&channel, &parameters).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("more"), "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let last = violations.last().unwrap();
    let left_out: usize = last.description["and ".len()..last.description.len() - " more".len()]
        .parse()
        .unwrap();
    assert_eq!(violations.len() - 1 + left_out, 500, "{violations:?}");

    // The id comes back in the reply, so it has a limit of its own.
    let status = model_infer(&channel, &delimited(3, &[b'i'; 2000])).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status
            .message()
            .starts_with("id: expected at most 1024 bytes, got 2000"),
        "{status:?}"
    );
}

#[tokio::test]
async fn headers_come_back_cut_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let channel = connect(&server.url).await;
    let long = "h".repeat(6000);
    for path in Services::all().methods.keys() {
        for name in [
            "grpc-encoding",
            "grpc-timeout",
            "x-request-id",
            "authorization",
        ] {
            let frames = framed("identity", &[]);
            let reply = call_with(&channel, path, frames, &[(name, &long)]).await;
            let bytes = reply.metadata_bytes();
            assert!(bytes <= MAX_METADATA_BYTES, "{path} {name}: {reply:?}");
        }
    }
    let unknown = format!("/lfbm.v1.AnomalyDetector/{long}");
    let reply = call(&channel, &unknown, "identity", framed("identity", &[])).await;
    assert_eq!(reply.code(), Code::Unimplemented);
    assert!(reply.metadata_bytes() <= MAX_METADATA_BYTES);
}
