//! The Open Inference Protocol, by Triton's own client and by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
#[path = "common/python.rs"]
mod python;

use std::time::{Duration, Instant};

use common::{Server, bundle, client, close, encoded, peak_bytes, pixels, png};
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::infer_parameter::ParameterChoice;
use lfbm_wire::inference::model_infer_request::InferInputTensor;
use lfbm_wire::inference::{
    InferParameter, InferTensorContents, ModelConfigRequest, ModelInferRequest, ServerLiveRequest,
    ServerLiveResponse,
};
use lfbm_wire::{Aggregation, InferenceParameters, Verdict};
use python::python;
use serde_json::Value;
use tonic::client::Grpc;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request};

fn address(server: &Server) -> &str {
    server.url.strip_prefix("http://").unwrap()
}

#[tokio::test]
async fn the_client_of_triton_gets_the_scores_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let images: Vec<_> = (0..3).map(|index| pixels(&spec, index)).collect();
    let rows = images
        .iter()
        .map(|image| image.chunks(spec.width).collect());
    let file = folder.path().join("images.json");
    let rows: Vec<Vec<&[u8]>> = rows.collect();
    std::fs::write(&file, serde_json::to_string(&rows).unwrap()).unwrap();

    let printed = python(
        "open_inference.py",
        &[address(&server), "random-mlp", file.to_str().unwrap()],
    );
    let got: Value = serde_json::from_slice(&printed).unwrap();
    assert_eq!(got["server"]["name"], "lfbm-server");
    assert_eq!(got["model"]["versions"], serde_json::json!(["1"]));
    let shape = &got["model"]["inputs"][0]["shape"];
    assert_eq!(*shape, serde_json::json!(["-1", "1", "-1", "-1"]));

    let mut client = client(&server).await;
    let scores = &got["scores"];
    for (index, image) in images.iter().enumerate() {
        let score = client.score(encoded(png(image.clone()))).await.unwrap();
        let score = score.into_inner();
        for (name, expected) in [
            ("log_joint", score.log_joint),
            ("log_prior", score.log_prior),
            ("log_likelihood", score.log_likelihood),
            ("log_joint_std", 0.0),
            ("p_value", score.p_value.unwrap()),
            ("local_score", score.local_score.unwrap()),
            ("local_p_value", score.local_p_value.unwrap()),
        ] {
            let got = scores[name][index].as_f64().unwrap();
            assert!(close(got, expected), "{name} of {index}: {got}, {expected}");
        }
        let anomalous = score.verdict() == Verdict::Anomalous;
        assert_eq!(scores["anomalous"][index], anomalous);
    }
    let mut request = encoded(png(images[0].clone()));
    request.inference = Some(InferenceParameters {
        seed: Some(5),
        steps: Some(7),
        step_size: Some(0.05),
        chains: Some(3),
        noise_free_steps: Some(2),
        aggregation: Aggregation::Max.into(),
    });
    let changed = client.score(request).await.unwrap().into_inner();
    assert!(close(
        got["changed"][0].as_f64().unwrap(),
        changed.log_joint
    ));
}

#[test]
fn the_client_of_triton_gets_index_configuration_and_statistics() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    bundle(&models);
    std::fs::create_dir(models.join("broken")).unwrap();
    std::fs::write(models.join("broken/manifest.json"), "{}").unwrap();
    let server = Server::start(&models, folder.path(), &[]);
    python("triton_extensions.py", &[address(&server), "random-mlp"]);
}

/// A path of no method, of whatever service, is answered with a sentence too.
#[tokio::test]
async fn a_method_that_there_is_not_is_answered_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut client = Grpc::new(channel.connect().await.unwrap());
    let long = format!("/lfbm.v1.AnomalyDetector/{}", "x".repeat(8000));
    for (path, part) in [
        (
            "/inference.GRPCInferenceService/ModelStreamInfer",
            "ScoreStream",
        ),
        ("/inference.GRPCInferenceService/Nothing", "reflection"),
        ("/lfbm.v1.AnomalyDetector/Scores", "reflection"),
        ("/grpc.health.v1.Health/List", "reflection"),
        ("/nowhere.At/All", "reflection"),
        (&long, "reflection"),
    ] {
        client.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<ServerLiveRequest, ServerLiveResponse>::default();
        let request = Request::new(ServerLiveRequest {});
        let answer = client.unary(request, path.parse().unwrap(), codec).await;
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::Unimplemented, "{path}: {status:?}");
        assert!(status.message().contains(part), "{path}: {status:?}");
    }
}

fn int64(value: i64) -> InferParameter {
    InferParameter {
        parameter_choice: Some(ParameterChoice::Int64Param(value)),
    }
}

fn input(
    shape: &[i64],
    datatype: &str,
    contents: Option<InferTensorContents>,
) -> ModelInferRequest {
    ModelInferRequest {
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: datatype.to_owned(),
            shape: shape.to_vec(),
            contents,
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[tokio::test]
async fn typed_contents_are_taken_and_shapes_that_lie_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let bytes = pixels(&bundle.manifest().image, 0);
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut v2 = GrpcInferenceServiceClient::connect(server.url.clone())
        .await
        .unwrap();
    let mut detector = client(&server).await;
    let expected = detector.score(encoded(png(bytes.clone()))).await.unwrap();
    let expected = expected.into_inner().log_joint;
    let uints = InferTensorContents {
        uint_contents: bytes.iter().map(|byte| u32::from(*byte)).collect(),
        ..Default::default()
    };
    let floats = InferTensorContents {
        fp32_contents: bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect(),
        ..Default::default()
    };
    for (datatype, contents) in [("UINT8", &uints), ("FP32", &floats)] {
        let request = input(&[1, 1, 28, 28], datatype, Some(contents.clone()));
        let reply = v2.model_infer(request).await.unwrap().into_inner();
        let log_joint = reply.raw_output_contents[0].as_slice().try_into().unwrap();
        assert!(close(f64::from_le_bytes(log_joint), expected));
    }

    let raw = |shape: &[i64], datatype: &str, raw: Vec<Vec<u8>>| ModelInferRequest {
        raw_input_contents: raw,
        ..input(shape, datatype, None)
    };
    let huge = InferTensorContents {
        uint_contents: vec![256; 784],
        ..Default::default()
    };
    let both = ModelInferRequest {
        raw_input_contents: vec![bytes.clone()],
        ..input(&[1, 1, 28, 28], "UINT8", Some(uints))
    };
    for (request, part) in [
        (ModelInferRequest::default(), "one input"),
        (raw(&[1, 28, 28], "INT8", vec![bytes.clone()]), "INT8"),
        (raw(&[], "UINT8", vec![bytes.clone()]), "got []"),
        (raw(&[0, 1, 28, 28], "UINT8", vec![Vec::new()]), "got [0"),
        (
            raw(&[-1, 1, 28, 28], "UINT8", vec![bytes.clone()]),
            "got [-1",
        ),
        (
            raw(&[2, 1, 28, 28], "UINT8", vec![bytes.clone()]),
            "2 images",
        ),
        (
            raw(&[i64::MAX, 1, 28, 28], "FP32", vec![bytes.clone()]),
            "expected at most 21399 images",
        ),
        (
            raw(&[1, 1, i64::MAX, 4], "UINT8", vec![bytes]),
            "bytes, got 784",
        ),
        (raw(&[1, 1, 28, 28], "UINT8", vec![]), "once"),
        (both, "once"),
        (input(&[1, 1, 28, 28], "UINT8", Some(huge)), "256"),
    ] {
        let status = v2.model_infer(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{part}: {status:?}");
        assert!(status.message().contains(part), "{part}: {status:?}");
    }
}

#[tokio::test]
async fn a_request_has_as_many_images_as_fit_a_message_whatever_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut v2 = GrpcInferenceServiceClient::new(channel.connect().await.unwrap())
        .send_compressed(CompressionEncoding::Gzip);
    let config = ModelConfigRequest::default();
    let config = v2.model_config(config).await.unwrap().into_inner();
    // Of 784 bytes each, in a message of 16 MiB; the configuration counts images of four bytes a value.
    let most = (16 << 20) / 784;
    assert_eq!(config.config.unwrap().max_batch_size, 5349);
    let tiny = |count: i64| ModelInferRequest {
        parameters: [("steps", 1), ("chains", 1)]
            .map(|(name, value)| (name.to_owned(), int64(value)))
            .into(),
        raw_input_contents: vec![vec![0; count as usize]],
        ..input(&[count, 1, 1, 1], "UINT8", None)
    };
    let reply = v2.model_infer(tiny(most)).await.unwrap().into_inner();
    assert_eq!(reply.outputs[0].shape, [most]);
    assert_eq!(reply.raw_output_contents[0].len() as i64, 8 * most);
    let before = peak_bytes(&server);
    for count in [most + 1, 15_000_000] {
        let status = v2.model_infer(tiny(count)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        for part in [format!("at most {most} images"), format!("got {count}")] {
            assert!(status.message().contains(&part), "{status:?}");
        }
    }
    let grown = peak_bytes(&server) - before;
    assert!(grown < 100_000_000, "{grown} bytes");
}

#[tokio::test]
async fn images_that_are_late_because_of_each_other_are_not_to_be_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--threads", "1", "--max-batch-chains", "2"];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let mut v2 = GrpcInferenceServiceClient::connect(server.url.clone())
        .await
        .unwrap();
    let request = |count: i64, timeout: Duration| ModelInferRequest {
        parameters: [("steps", 200), ("timeout", timeout.as_micros() as i64)]
            .map(|(name, value)| (name.to_owned(), int64(value)))
            .into(),
        raw_input_contents: vec![vec![0; 784 * count as usize]],
        ..input(&[count, 1, 28, 28], "UINT8", None)
    };
    let started = Instant::now();
    v2.model_infer(request(1, Duration::from_secs(600)))
        .await
        .unwrap();
    // For far more than one, and far less than all of them.
    let timeout = 10 * started.elapsed();
    let status = v2.model_infer(request(1000, timeout)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
}
