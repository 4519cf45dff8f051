//! A call of many images is answered by one version of its model.

use std::fs;
use std::path::Path;

use lfbm_model::GeneratorName;
use lfbm_runtime::Runtime;
use lfbm_testkit::random_bundle;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::infer_parameter::ParameterChoice;
use lfbm_wire::inference::model_infer_request::InferInputTensor;
use lfbm_wire::inference::{InferParameter, ModelInferRequest, ModelInferResponse};
use tonic::Status;

use crate::common::{Server, eventually, http_get, metric, pixels};

/// More than are under way at once.
const IMAGES: usize = 600;

/// Puts a version of a model with weights of its own where the server looks.
fn publish(folder: &Path, version: u64) {
    let draft = folder.join("draft");
    let runtime = Runtime::load(None).unwrap();
    random_bundle(&draft, &runtime, GeneratorName::Mlp, 8, 4, version).unwrap();
    let file = draft.join("manifest.json");
    let text = fs::read_to_string(&file).unwrap();
    let text = text.replacen(r#""version": 1"#, &format!(r#""version": {version}"#), 1);
    fs::write(&file, text).unwrap();
    let place = folder.join("models/model");
    if place.exists() {
        fs::rename(&place, folder.join(format!("before-{version}"))).unwrap();
    }
    fs::rename(draft, place).unwrap();
}

fn batch(steps: u32) -> ModelInferRequest {
    let spec = lfbm_bundle::manifest::ImageSpec {
        channels: 1,
        height: 28,
        width: 28,
        value_range: [-1.0, 1.0],
        contrast: lfbm_bundle::manifest::Contrast::None,
        intake: lfbm_bundle::manifest::Intake::STRETCH,
    };
    let steps = InferParameter {
        parameter_choice: Some(ParameterChoice::Int64Param(steps.into())),
    };
    ModelInferRequest {
        parameters: [("steps".to_owned(), steps)].into(),
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: "UINT8".to_owned(),
            shape: vec![IMAGES as i64, 28, 28],
            ..Default::default()
        }],
        raw_input_contents: vec![(0..IMAGES).flat_map(|i| pixels(&spec, i % 7)).collect()],
        ..Default::default()
    }
}

fn log_joints(reply: &ModelInferResponse) -> Vec<f64> {
    let (values, _) = reply.raw_output_contents[0].as_chunks::<8>();
    values
        .iter()
        .map(|value| f64::from_le_bytes(*value))
        .collect()
}

#[tokio::test]
async fn a_batch_is_answered_by_the_version_that_it_came_to() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("models")).unwrap();
    publish(folder.path(), 1);
    let flags = ["--model-poll-s", "1", "--max-steps", "100000000"];
    let server = Server::start(&folder.path().join("models"), folder.path(), &flags);
    let client = GrpcInferenceServiceClient::connect(server.url.clone());
    let client = client.await.unwrap();
    let infer = |steps| {
        let mut client = client.clone();
        async move { client.model_infer(batch(steps)).await }
    };
    // As long as it takes for the call to be under way while its version is replaced.
    for (version, steps) in (1_u64..).zip([500, 5_000, 50_000, 500_000]) {
        let in_flight = tokio::spawn(infer(steps));
        let running = format!(r#"version="{version}""#);
        eventually("the call is under way", || {
            metric(&server, "lfbm_chains_running", &running) > 0.0 || in_flight.is_finished()
        })
        .await;
        publish(folder.path(), version + 1);
        let next = format!(r#""version":{}"#, version + 1);
        eventually("the next version is served", || {
            http_get(&server, "/models")
                .replace(' ', "")
                .contains(&next)
        })
        .await;
        let spanned = !in_flight.is_finished();
        let reply: Result<_, Status> = in_flight.await.unwrap();
        let reply = reply.unwrap().into_inner();
        assert_eq!(reply.model_version, version.to_string());
        if spanned {
            let scores = log_joints(&reply);
            assert_eq!(scores.len(), IMAGES);
            // Equal images, however late in the call, have the score of the same weights.
            for (index, score) in scores.iter().enumerate() {
                let first = scores[index % 7];
                assert!(
                    (score - first).abs() < 1e-2 * first.abs().max(1.0),
                    "{index}"
                );
            }
            return;
        }
    }
    panic!("no call was under way while its version was replaced");
}
