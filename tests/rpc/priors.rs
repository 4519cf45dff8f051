//! Models whose prior is no flow, on the same server.

use std::process::Command;

use lfbm_bundle::manifest::PriorKind;
use lfbm_model::GeneratorName;
use lfbm_model::pixels::{from_bytes, from_x};
use lfbm_runtime::{Inference, Runtime, SessionOptions};
use lfbm_testkit::{RandomModel, random_bundle_of};
use lfbm_wire::inference::ModelInferRequest;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::infer_parameter::ParameterChoice;
use lfbm_wire::inference::model_infer_request::InferInputTensor;
use lfbm_wire::{ImageForm, ListModelsRequest, Prior, SampleRequest};

use crate::common::{Server, client, close, encoded, pixels, png};
use crate::images::{distance, intensities};

#[tokio::test]
async fn a_model_with_an_energy_or_a_gaussian_scores_and_samples_and_says_what_it_is() {
    let runtime = Runtime::load(None).unwrap();
    for (kind, prior, unnormalized) in [
        (PriorKind::Ebm, Prior::Ebm, true),
        (PriorKind::Gaussian, Prior::Gaussian, false),
        (PriorKind::Flow, Prior::Flow, false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle");
        let model = RandomModel {
            prior: kind,
            ..RandomModel::new(GeneratorName::Mlp, 8, 4, 1)
        };
        let bundle = random_bundle_of(&path, &runtime, model).unwrap();
        let manifest = bundle.manifest();
        let options = SessionOptions::default();
        let mut direct = Inference::open(&runtime, &path, manifest, &options).unwrap();
        let server = Server::start(&path, folder.path(), &[]);
        let mut client = client(&server).await;

        let models = client.list_models(ListModelsRequest {}).await.unwrap();
        assert_eq!(models.into_inner().models[0].prior(), prior);

        let bytes = pixels(&manifest.image, 2);
        let image: Vec<f32> = from_bytes(&bytes).collect();
        let expected = direct
            .score(&image, &manifest.langevin, 0, &mut |_| ())
            .unwrap();
        let request = encoded(png(bytes.clone()));
        let score = client.score(request).await.unwrap().into_inner();
        assert!(close(score.log_prior, expected[0].log_prior), "{kind:?}");
        assert!(close(score.log_joint, expected[0].log_joint), "{kind:?}");
        assert!(score.p_value.is_some() && score.local_score.is_some());
        assert_eq!(score.prior_unnormalized, unnormalized);

        let request = SampleRequest {
            count: 3,
            seed: Some(5),
            form: ImageForm::Unspecified.into(),
            ..Default::default()
        };
        let samples = client.sample(request).await.unwrap().into_inner().images;
        let x = direct.sample_prior(3, 5).unwrap();
        for (sample, x) in samples.iter().zip(x.chunks(manifest.image.pixels())) {
            let expected = from_x(x, &manifest.image, None);
            assert!(distance(&intensities(sample), &expected) < 1e-4, "{kind:?}");
        }

        let mut triton = GrpcInferenceServiceClient::connect(server.url.clone())
            .await
            .unwrap();
        let request = ModelInferRequest {
            model_name: manifest.name.clone(),
            inputs: vec![InferInputTensor {
                name: "image".to_owned(),
                datatype: "UINT8".to_owned(),
                shape: vec![1, 1, 28, 28],
                ..Default::default()
            }],
            raw_input_contents: vec![bytes.clone()],
            ..Default::default()
        };
        let reply = triton.model_infer(request).await.unwrap().into_inner();
        let marked = reply.parameters["prior_unnormalized"]
            .parameter_choice
            .clone();
        assert_eq!(marked, Some(ParameterChoice::BoolParam(unnormalized)));

        let file = folder.path().join("image.png");
        std::fs::write(&file, png(bytes)).unwrap();
        let lfbm = |args: &[&str]| {
            let output = Command::new(crate::common::binary("lfbm"))
                .args(["--server", &server.url])
                .args(args)
                .output()
                .unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{errors}");
            String::from_utf8(output.stdout).unwrap()
        };
        let table = lfbm(&["score", &file.display().to_string()]);
        assert_eq!(table.contains("lack a constant"), unnormalized, "{table}");
        let table = lfbm(&["models"]);
        assert_eq!(table.contains("unnormalised"), unnormalized, "{table}");
    }
}
