//! What is served is what was calibrated.

use std::fs;

use futures_util::future::join_all;
use lfbm_bundle::manifest::Aggregation;
use lfbm_model::GeneratorName;
use lfbm_runtime::Runtime;
use lfbm_testkit::{RandomModel, calibration_images, random_bundle_of};
use lfbm_wire::image::Content;
use lfbm_wire::inference::ModelInferRequest;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::model_infer_request::InferInputTensor;
use lfbm_wire::{DataType, GetModelRequest, Image, ScoreRequest, ScoreResponse, Tensor, Verdict};

use crate::common::{Server, bundle, client, encoded, pixels, png};

const SEED: u64 = 1;
/// Rounding may move a score so far between batches, in nats.
const ROUNDING: f64 = 1e-3;

/// A calibration image has the rank among the served scores that its p-value says, however chains
/// become one.
#[tokio::test]
async fn a_calibration_image_has_the_rank_that_it_must_have() {
    let runtime = Runtime::load(None).unwrap();
    for aggregation in [Aggregation::Mean, Aggregation::Max, Aggregation::LogMeanExp] {
        for chains in [1, 8] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("bundle");
            let model = RandomModel {
                chains,
                aggregation,
                ..RandomModel::new(GeneratorName::Mlp, 8, 4, SEED)
            };
            let bundle = random_bundle_of(&path, &runtime, model).unwrap();
            let spec = bundle.manifest().image;
            let server = Server::start(&path, folder.path(), &[]);
            let client = client(&server).await;
            let images = calibration_images(&spec, SEED);
            let scores = images.chunks(spec.pixels()).map(|image| {
                let tensor = Tensor {
                    data_type: DataType::Float32.into(),
                    shape: vec![1, 28, 28],
                    data: image.iter().flat_map(|value| value.to_le_bytes()).collect(),
                };
                let request = ScoreRequest {
                    image: Some(Image {
                        content: Some(Content::Tensor(tensor)),
                    }),
                    ..Default::default()
                };
                let mut client = client.clone();
                async move { client.score(request).await.unwrap().into_inner() }
            });
            let scores = join_all(scores).await;
            let ranks = (scores.len() + 1) as f64;
            let mut by_parts = 0;
            for score in &scores {
                let within = |limit: f64| {
                    let below = scores.iter().filter(|other| other.log_joint <= limit);
                    (1 + below.count()) as f64
                };
                let rank = (score.p_value.unwrap() * ranks).round();
                let least = within(score.log_joint - ROUNDING);
                let most = within(score.log_joint + ROUNDING);
                assert!(
                    (least..=most).contains(&rank),
                    "{aggregation:?} of {chains}: {rank} is not from {least} to {most}"
                );
                let sum = |other: &&ScoreResponse| {
                    other.log_prior + other.log_likelihood <= score.log_joint
                };
                let rank = (1 + scores.iter().filter(sum).count()) as f64;
                by_parts += usize::from(!(least..=most).contains(&rank));
            }
            // The parts would give other ranks where chains are weighted: the test tells.
            let weighted = aggregation == Aggregation::LogMeanExp && chains > 1;
            assert_eq!(by_parts > 0, weighted, "{aggregation:?} of {chains}");
        }
    }
}

/// A bundle from before, or from elsewhere, may say that more steps are without noise than there are.
#[tokio::test]
async fn more_noise_free_steps_than_steps_are_all_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let file = bundle.dir().join("manifest.json");
    let text = fs::read_to_string(&file).unwrap();
    let more = text.replace(r#""noise_free_steps": 0"#, r#""noise_free_steps": 30"#);
    assert_ne!(more, text);
    fs::write(&file, more).unwrap();
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let bytes = pixels(&bundle.manifest().image, 0);
    let score = client.score(encoded(png(bytes.clone()))).await.unwrap();
    let score = score.into_inner();
    assert!(score.verdict() != Verdict::Unspecified && score.p_value.is_some());
    let model = client.get_model(GetModelRequest::default()).await.unwrap();
    let inference = model.into_inner().model.unwrap().inference.unwrap();
    assert_eq!((inference.steps(), inference.noise_free_steps()), (20, 20));
    // What the model says of itself is the default, also when a request says it.
    let mut request = encoded(png(bytes.clone()));
    request.inference = Some(inference);
    let again = client.score(request).await.unwrap().into_inner();
    assert_eq!(again.p_value, score.p_value);
    let mut v2 = GrpcInferenceServiceClient::connect(server.url.clone())
        .await
        .unwrap();
    let request = ModelInferRequest {
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: "UINT8".to_owned(),
            shape: vec![1, 28, 28],
            ..Default::default()
        }],
        raw_input_contents: vec![bytes],
        ..Default::default()
    };
    let reply = v2.model_infer(request).await.unwrap().into_inner();
    let names: Vec<_> = reply.outputs.iter().map(|output| &output.name).collect();
    assert!(names.iter().any(|name| *name == "anomalous"), "{names:?}");
    let p_value = names.iter().position(|name| *name == "p_value").unwrap();
    let p_value = reply.raw_output_contents[p_value].as_slice().try_into();
    assert_eq!(Some(f64::from_le_bytes(p_value.unwrap())), score.p_value);
}
