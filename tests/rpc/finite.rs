//! Numbers in replies are numbers, or there is a status.

use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::infer_parameter::ParameterChoice;
use lfbm_wire::inference::model_infer_request::InferInputTensor;
use lfbm_wire::inference::{InferParameter, ModelInferRequest};
use lfbm_wire::{
    Aggregation, DataType, ExplainRequest, InferenceParameters, InpaintRequest, RenderedImage,
    ScoreRequest, ScoreResponse, Tensor,
};
use tonic::Status;

use crate::common::{Server, bundle, client, encoded, pixels, png};

fn check(what: &str, numbers: impl IntoIterator<Item = f64>) {
    for number in numbers {
        assert!(number.is_finite(), "{what}: {number}");
    }
}

fn check_score(what: &str, score: &ScoreResponse) {
    let calibrated = [score.p_value, score.local_score, score.local_p_value];
    let densities = [
        score.log_joint,
        score.log_prior,
        score.log_likelihood,
        score.log_joint_std,
        score.log_prior_std,
        score.log_likelihood_std,
    ];
    check(
        what,
        densities
            .into_iter()
            .chain(calibrated.into_iter().flatten()),
    );
}

fn check_image(what: &str, image: Option<&RenderedImage>) {
    let tensor = image.unwrap().tensor.as_ref().unwrap();
    let values = tensor.data.as_chunks().0.iter();
    check(
        what,
        values.map(|value| f64::from(f32::from_le_bytes(*value))),
    );
}

/// An answer is checked; that there is none is an answer, too, if it says so.
fn answered<T>(what: &str, reply: Result<tonic::Response<T>, Status>) -> Option<T> {
    match reply {
        Ok(reply) => Some(reply.into_inner()),
        Err(status) => {
            assert!(status.message().contains("finite"), "{what}: {status:?}");
            None
        }
    }
}

#[tokio::test]
async fn steps_of_any_size_end_in_numbers_or_in_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let mut inference = GrpcInferenceServiceClient::connect(server.url.clone())
        .await
        .unwrap();
    let image = encoded(png(pixels(&spec, 0))).image;
    // Only what is hidden can leave the numbers without the density doing so.
    let mut visible = vec![0; spec.positions()];
    visible[0] = 1;
    let mask = Tensor {
        data_type: DataType::Uint8.into(),
        shape: vec![spec.height as u64, spec.width as u64],
        data: visible,
    };
    let (mut scored, mut refused) = (0, 0);
    for exponent in (-4..=38).step_by(2) {
        let step_size = 10_f32.powi(exponent);
        for aggregation in [Aggregation::Mean, Aggregation::Max, Aggregation::LogMeanExp] {
            let what = format!("steps of {step_size}, {aggregation:?}");
            let parameters = InferenceParameters {
                steps: Some(3),
                step_size: Some(step_size),
                noise_free_steps: Some(0),
                chains: Some(3),
                aggregation: aggregation.into(),
                seed: Some(1),
            };
            let request = ScoreRequest {
                image: image.clone(),
                inference: Some(parameters),
                ..Default::default()
            };
            match answered(&what, client.score(request).await) {
                Some(score) => {
                    check_score(&what, &score);
                    scored += 1;
                }
                None => refused += 1,
            }
            let request = ExplainRequest {
                image: image.clone(),
                inference: Some(parameters),
                mask: Some(mask.clone()),
                ..Default::default()
            };
            if let Some(reply) = answered(&what, client.explain(request).await) {
                check_score(&what, reply.score.as_ref().unwrap());
                check_image(&what, reply.reconstruction.as_ref());
                check_image(&what, reply.residual.as_ref());
                let chains = reply.chains.iter();
                let parts = chains.flat_map(|c| [c.log_joint, c.log_prior, c.log_likelihood]);
                check(&what, parts);
            }
            let request = InpaintRequest {
                image: image.clone(),
                inference: Some(parameters),
                mask: Some(mask.clone()),
                ..Default::default()
            };
            if let Some(reply) = answered(&what, client.inpaint(request).await) {
                for completion in &reply.completions {
                    check_image(&what, completion.image.as_ref());
                    check(&what, [completion.score.unwrap().log_joint]);
                }
            }
            let parameter = |choice| InferParameter {
                parameter_choice: Some(choice),
            };
            let request = ModelInferRequest {
                inputs: vec![InferInputTensor {
                    name: "image".to_owned(),
                    datatype: "UINT8".to_owned(),
                    shape: vec![1, 1, 28, 28],
                    ..Default::default()
                }],
                raw_input_contents: vec![pixels(&spec, 0)],
                parameters: [
                    ("steps", ParameterChoice::Int64Param(3)),
                    ("chains", ParameterChoice::Int64Param(3)),
                    ("step_size", ParameterChoice::DoubleParam(step_size.into())),
                ]
                .into_iter()
                .map(|(name, choice)| (name.to_owned(), parameter(choice)))
                .collect(),
                ..Default::default()
            };
            if let Some(reply) = answered(&what, inference.model_infer(request).await) {
                let names: Vec<_> = reply.outputs.iter().map(|output| &output.name).collect();
                assert_eq!(names.len(), 4, "{names:?}");
                for values in &reply.raw_output_contents {
                    let value = values.as_slice().try_into().unwrap();
                    check(&what, [f64::from_le_bytes(value)]);
                }
            }
        }
    }
    assert!(
        scored > 0 && refused > 0,
        "{scored} scored, {refused} refused"
    );
}

#[tokio::test]
async fn images_without_contrast_have_scores_that_are_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    for grey in [0, 1, 128, 255] {
        let request = encoded(png(vec![grey; spec.pixels()]));
        let score = client.score(request).await.unwrap().into_inner();
        check_score(&format!("all pixels {grey}"), &score);
        assert!(score.local_score.is_some());
    }
}
