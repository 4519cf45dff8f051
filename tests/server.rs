//! The server as its users meet it: a process, a channel, requests that are right and wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Server, bundle, client, close, encoded, http_get, metric, pixels, png};
use futures_util::future::join_all;
use futures_util::stream;
use lfbm_bundle::manifest::{Aggregation, Decision, Langevin};
use lfbm_runtime::{Device, Inference, Precision, Runtime, SessionOptions};
use lfbm_wire::image::Content;
use lfbm_wire::{
    self, DataType, GetModelRequest, Image, InferenceParameters, InpaintRequest, ListModelsRequest,
    SampleRequest, ScoreRequest, Tensor, Verdict,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

fn tensor(data_type: DataType, shape: &[u64], data: Vec<u8>) -> ScoreRequest {
    ScoreRequest {
        image: Some(Image {
            content: Some(Content::Tensor(Tensor {
                data_type: data_type.into(),
                shape: shape.to_vec(),
                data,
            })),
        }),
        ..Default::default()
    }
}

fn violations(status: &Status) -> Vec<String> {
    let request = status.get_details_bad_request().unwrap();
    let fields = request.field_violations.into_iter();
    fields.map(|violation| violation.field).collect()
}

/// Whether so many chains of the server's only model are under way.
fn chains_run(server: &Server, chains: usize) -> bool {
    http_get(server, "/metrics").lines().any(|line| {
        line.starts_with("lfbm_chains_running") && line.ends_with(&format!(" {chains}"))
    })
}

/// The served score is the one that the bundle crate computes, alone and in a full batch of
/// requests of many kinds.
async fn scores_do_not_depend_on_who_shares_the_batch(precision: Precision) {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let manifest = bundle.manifest();
    let server = Server::start(
        bundle.dir(),
        folder.path(),
        &["--precision", &precision.to_string()],
    );
    let label = format!("precision=\"{precision}\"");
    assert_eq!(metric(&server, "lfbm_model_device_info", &label), 1.0);
    let client = client(&server).await;
    let requests: Vec<_> = (0..64)
        .map(|index| {
            let mut request = encoded(png(pixels(&manifest.image, index)));
            request.inference = Some(InferenceParameters {
                seed: Some(index as u64 % 5),
                chains: Some(1 + index as u32 % 3),
                steps: Some(5 + index as u32 % 20),
                step_size: Some(0.02 + 0.001 * index as f32),
                aggregation: lfbm_wire::Aggregation::LogMeanExp.into(),
                ..Default::default()
            });
            request
        })
        .collect();
    let together = join_all(requests.iter().map(|request| {
        let mut client = client.clone();
        async move { client.score(request.clone()).await.unwrap().into_inner() }
    }))
    .await;
    let runtime = Runtime::load(None).unwrap();
    let options = SessionOptions {
        precision,
        ..SessionOptions::default()
    };
    let mut inference = Inference::open(&runtime, bundle.dir(), manifest, &options).unwrap();
    for index in [0, 1, 17, 63] {
        let alone = client.clone().score(requests[index].clone()).await.unwrap();
        let alone = alone.into_inner();
        let asked = requests[index].inference.unwrap();
        let langevin = Langevin {
            steps: asked.steps(),
            step_size: asked.step_size(),
            chains: asked.chains(),
            aggregation: Aggregation::LogMeanExp,
            ..manifest.langevin
        };
        let image: Vec<f32> =
            lfbm_model::pixels::from_bytes(&pixels(&manifest.image, index)).collect();
        let direct = inference
            .score(&image, &langevin, asked.seed(), &mut |_| ())
            .unwrap();
        for (alone, together, direct) in [
            (
                alone.log_joint,
                together[index].log_joint,
                direct[0].log_joint,
            ),
            (
                alone.log_prior,
                together[index].log_prior,
                direct[0].log_prior,
            ),
            (
                alone.log_joint_std,
                together[index].log_joint_std,
                direct[0].log_joint_std,
            ),
        ] {
            assert!(close(alone, direct), "{index}: {alone}, {direct}");
            assert!(close(together, direct), "{index}: {together}, {direct}");
        }
    }
}

#[tokio::test]
async fn a_score_does_not_depend_on_who_shares_the_batch() {
    scores_do_not_depend_on_who_shares_the_batch(Precision::F32).await;
}

#[tokio::test]
async fn nor_does_it_in_bfloat16() {
    if let Err(error) = Precision::Bf16.check(Device::Cpu) {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(folder.path());
        let mut command = common::command(bundle.dir());
        let output = command.args(["--precision", "bf16"]).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(&error.to_string()), "{errors}");
        return;
    }
    scores_do_not_depend_on_who_shares_the_batch(Precision::Bf16).await;
}

#[tokio::test]
async fn the_calibration_judges_default_parameters_only() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let mut request = encoded(png(pixels(&bundle.manifest().image, 0)));
    let reply = client.score(request.clone()).await.unwrap().into_inner();
    let expected = bundle.calibration().p_value(reply.log_joint);
    assert_eq!(reply.p_value, Some(expected));
    let calibration = &bundle.manifest().calibration;
    assert_eq!(calibration.decision, Decision::Local);
    let local_score = reply.local_score.unwrap();
    // The served score is the one that `trainer evaluate` computes.
    let runtime = Runtime::load(None).unwrap();
    let options = SessionOptions::default();
    let manifest = bundle.manifest();
    let mut inference = Inference::open(&runtime, bundle.dir(), manifest, &options).unwrap();
    let image: Vec<f32> = lfbm_model::pixels::from_bytes(&pixels(&manifest.image, 0)).collect();
    let direct = inference
        .score(&image, &manifest.langevin, 0, &mut |_| ())
        .unwrap();
    let x = inference.preprocess(&image).unwrap();
    let local = bundle.calibration().local().unwrap();
    let reported = local.score(&local.parts(&x, direct[0].log_joint));
    assert!(close(local_score, reported), "{local_score}, {reported}");
    assert_eq!(
        reply.local_p_value,
        Some(bundle.calibration().local().unwrap().p_value(local_score))
    );
    assert_eq!(
        reply.verdict() == Verdict::Anomalous,
        local_score > calibration.threshold_local_score.unwrap()
    );

    request.inference = Some(InferenceParameters {
        steps: Some(3),
        ..Default::default()
    });
    let reply = client.score(request).await.unwrap().into_inner();
    assert_eq!(
        (reply.p_value, reply.local_score, reply.verdict()),
        (None, None, Verdict::Unspecified)
    );
}

#[tokio::test]
async fn bad_input_is_named_and_the_server_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let server = Server::start(bundle.dir(), folder.path(), &["--max-steps", "100"]);
    let mut client = client(&server).await;
    let good = encoded(png(pixels(&spec, 0)));
    let expected = client.score(good.clone()).await.unwrap().into_inner();

    let file = png(pixels(&spec, 0));
    let mut nan = vec![0; 4 * spec.pixels()];
    nan[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut many = good.clone();
    many.inference = Some(InferenceParameters {
        steps: Some(101),
        chains: Some(0),
        ..Default::default()
    });
    for (request, fields) in [
        (ScoreRequest::default(), vec!["image"]),
        (
            encoded(file[..file.len() / 2].to_vec()),
            vec!["image.encoded"],
        ),
        (
            tensor(DataType::Uint8, &[2, 32, 32], vec![0; 2048]),
            vec!["image.tensor.shape"],
        ),
        (
            tensor(DataType::Float32, &[1, 28, 28], nan),
            vec!["image.tensor.data"],
        ),
        (many, vec!["inference.steps", "inference.chains"]),
    ] {
        let status = client.score(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert_eq!(violations(&status), fields);
    }
    let wrong = InpaintRequest {
        inference: Some(InferenceParameters {
            chains: Some(99),
            ..Default::default()
        }),
        priority: 9,
        form: 9,
        ..Default::default()
    };
    let status = client.inpaint(wrong).await.unwrap_err();
    let fields = ["image", "inference.chains", "mask", "priority", "form"];
    assert_eq!(violations(&status), fields);
    let wrong = SampleRequest {
        form: 9,
        ..Default::default()
    };
    let status = client.sample(wrong).await.unwrap_err();
    assert_eq!(violations(&status), ["count", "form"]);

    let mut unknown = good.clone();
    unknown.model = "other".to_owned();
    let status = client.score(unknown).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().contains("random-mlp"), "{status:?}");
    let mut later = good.clone();
    later.version = 9;
    assert_eq!(
        client.score(later).await.unwrap_err().code(),
        Code::NotFound
    );

    let again = client.score(good).await.unwrap().into_inner();
    assert!(close(again.log_joint, expected.log_joint));
    let metrics = http_get(&server, "/metrics");
    let invalid =
        r#"lfbm_requests_total{code="InvalidArgument",method="Score",model="random-mlp"} 5"#;
    assert!(metrics.contains(invalid), "{metrics}");
    assert!(metrics.contains(r#"lfbm_rejected_total{reason="unknown_model"} 2"#));
}

#[tokio::test]
async fn overload_is_refused_at_once_and_an_abandoned_request_frees_its_room() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = [
        "--max-chains",
        "8",
        "--max-chains-in-flight",
        "8",
        "--max-steps",
        "100000000",
    ];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let mut client = client(&server).await;
    let good = encoded(png(pixels(&bundle.manifest().image, 0)));
    let mut endless = good.clone();
    endless.inference = Some(InferenceParameters {
        steps: Some(100_000_000),
        chains: Some(8),
        step_size: Some(0.001),
        ..Default::default()
    });
    let mut busy = client.clone();
    let endless = tokio::spawn(async move { busy.score(endless).await });
    let deadline = Instant::now() + Duration::from_secs(60);
    while !chains_run(&server, 8) {
        assert!(Instant::now() < deadline, "the long request never ran");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = client.score(good.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let retry = status.get_details_retry_info().unwrap();
    assert!(retry.retry_delay.unwrap() > Duration::ZERO);

    endless.abort();
    while client.score(good.clone()).await.is_err() {
        assert!(Instant::now() < deadline, "the rows were not freed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_deadline_ends_a_request() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--max-steps", "100000000"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let mut client = client(&server).await;
    let mut request = encoded(png(pixels(&bundle.manifest().image, 0)));
    request.inference = Some(InferenceParameters {
        steps: Some(100_000_000),
        ..Default::default()
    });
    let mut request = Request::new(request);
    request.set_timeout(Duration::from_millis(200));
    let status = client.score(request).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{status:?}"
    );
    let deadline = Instant::now() + Duration::from_secs(60);
    while !chains_run(&server, 0) {
        assert!(Instant::now() < deadline, "the row was not freed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn models_health_and_reflection_answer() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(folder.path(), folder.path(), &[]);
    let mut client = client(&server).await;
    let listed = client.list_models(ListModelsRequest {}).await.unwrap();
    let one = client.get_model(GetModelRequest::default()).await.unwrap();
    let model = one.into_inner().model.unwrap();
    assert_eq!(listed.into_inner().models, vec![model.clone()]);
    assert_eq!(model.latent_dim as usize, bundle.manifest().latent_dim);

    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    for service in ["", "lfbm.v1.AnomalyDetector"] {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving);
    }
    assert!(http_get(&server, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(http_get(&server, "/other").starts_with("HTTP/1.1 404"));

    // Both versions of reflection, which have the same messages.
    macro_rules! reflected {
        ($version:ident) => {{
            use tonic_reflection::pb::$version as reflection;
            let client = reflection::server_reflection_client::ServerReflectionClient::new;
            let mut client = client(channel.clone());
            let request = reflection::ServerReflectionRequest {
                message_request: Some(
                    reflection::server_reflection_request::MessageRequest::ListServices(
                        String::new(),
                    ),
                ),
                ..Default::default()
            };
            let replies = client.server_reflection_info(stream::iter([request])).await;
            let reply = replies.unwrap().into_inner().message().await.unwrap();
            format!("{reply:?}")
        }};
    }
    for services in [reflected!(v1), reflected!(v1alpha)] {
        for service in [
            "lfbm.v1.AnomalyDetector",
            "inference.GRPCInferenceService",
            "grpc.health.v1.Health",
        ] {
            assert!(services.contains(service), "{services}");
        }
    }
}

#[tokio::test]
async fn a_stop_finishes_what_is_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let mut server = Server::start(bundle.dir(), folder.path(), &[]);
    let client = client(&server).await;
    let mut request = encoded(png(pixels(&bundle.manifest().image, 0)));
    request.inference = Some(InferenceParameters {
        steps: Some(2000),
        ..Default::default()
    });
    let mut busy = client.clone();
    let in_flight = tokio::spawn(async move { busy.score(request).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stopped = Command::new("kill")
        .arg(server.process.id().to_string())
        .status()
        .unwrap();
    assert!(stopped.success());
    in_flight.await.unwrap().unwrap();
    drop(client);
    assert!(server.process.wait().unwrap().success());
}

#[test]
fn a_corrupt_bundle_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let file = bundle.dir().join("weights.bin");
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    let output = common::command(bundle.dir()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("weights.bin"), "{errors}");

    let output = common::command(&folder.path().join("nowhere"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("nowhere"),
        "{errors}"
    );
}

#[test]
fn a_start_that_fails_names_the_setting() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let manifest = bundle.dir().join("manifest.json");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (place, flags, part) in [
        (
            bundle.dir(),
            ["--log", "["],
            "log is \"[\", expected a level",
        ),
        (
            bundle.dir(),
            ["--grpc-address", &taken],
            "grpc_address: cannot listen on",
        ),
        (
            bundle.dir(),
            ["--http-address", &taken],
            "http_address: cannot listen on",
        ),
        (
            &manifest,
            ["--log", "warn"],
            "or a folder of bundles, found a file",
        ),
    ] {
        let output = common::command(place).args(flags).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains(part), "{part}: {errors}");
    }
}

#[test]
fn a_variable_that_is_nearly_a_settings_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let mut command = common::command(bundle.dir());
    command.env("LFBM_AUTH_TOKEN_FILE", "tokens");
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("did you mean LFBM_AUTH_TOKENS_FILE?"),
        "{errors}"
    );
}
