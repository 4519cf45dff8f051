//! What other calls and another protocol have of models of sites.

use lfbm_testkit::RandomSites;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::infer_parameter::ParameterChoice;
use lfbm_wire::inference::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use lfbm_wire::inference::{InferParameter, ModelInferRequest, ModelMetadataRequest};
use lfbm_wire::{DataType, InpaintRequest, SampleRequest, ScoreRequest, Tensor};
use tonic::Code;

use crate::common::{Server, client, encoded};
use crate::{bundle, picture, png, with_map};

#[tokio::test]
async fn a_model_of_sites_neither_completes_nor_samples() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), "sites", RandomSites::new(5));
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let image = encoded(png(&picture(32, 32, [0; 3]))).image;
    let mask = Some(Tensor {
        data_type: DataType::Uint8.into(),
        shape: vec![32, 32],
        data: [vec![0; 512], vec![1; 512]].concat(),
    });
    let masked = ScoreRequest {
        image: image.clone(),
        mask: mask.clone(),
        ..Default::default()
    };
    let inpaint = InpaintRequest {
        image: image.clone(),
        mask,
        ..Default::default()
    };
    let unmasked = InpaintRequest {
        image,
        ..Default::default()
    };
    let sample = SampleRequest {
        count: 1,
        ..Default::default()
    };
    for status in [
        client.score(masked).await.unwrap_err(),
        client.inpaint(inpaint).await.unwrap_err(),
        client.inpaint(unmasked).await.unwrap_err(),
        client.sample(sample).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        let said = status.message();
        assert!(said.contains("4 x 4 sites of pixels"), "{said}");
    }
}

#[tokio::test]
async fn the_open_inference_protocol_has_the_score_of_sites() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), "sites", RandomSites::new(5));
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let image = picture(64, 48, [16, 16, 16]);
    let reply = client(&server).await.score(with_map(&image)).await;
    let expected = reply.unwrap().into_inner();
    let mut client = GrpcInferenceServiceClient::connect(server.url.clone())
        .await
        .unwrap();
    let name = bundle.manifest().name.clone();
    let metadata = ModelMetadataRequest {
        name: name.clone(),
        ..Default::default()
    };
    let metadata = client.model_metadata(metadata).await.unwrap().into_inner();
    let outputs: Vec<_> = metadata
        .outputs
        .iter()
        .map(|output| &output.name[..])
        .collect();
    assert!(outputs.contains(&"site_score") && !outputs.contains(&"local_score"));

    let output = |name: &str| InferRequestedOutputTensor {
        name: name.to_owned(),
        ..Default::default()
    };
    let mut request = ModelInferRequest {
        model_name: name,
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: "UINT8".to_owned(),
            shape: vec![1, 1, 48, 64],
            ..Default::default()
        }],
        outputs: ["site_score", "site_p_value"].map(output).to_vec(),
        raw_input_contents: vec![image.into_raw()],
        ..Default::default()
    };
    let reply = client
        .model_infer(request.clone())
        .await
        .unwrap()
        .into_inner();
    let values = reply.raw_output_contents.iter();
    let values: Vec<_> = values
        .map(|bytes| f64::from_le_bytes(bytes[..].try_into().unwrap()))
        .collect();
    let expected = [expected.site_score, expected.site_p_value].map(Option::unwrap);
    assert_eq!(values, expected);

    let mut with_rate = request.clone();
    let parameter_choice = Some(ParameterChoice::DoubleParam(0.001));
    let rate = InferParameter { parameter_choice };
    with_rate
        .parameters
        .insert("false_alarm_rate".to_owned(), rate);
    let status = client.model_infer(with_rate).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(
        status.message().contains("false_alarm_rate: expected"),
        "{status:?}"
    );

    request.outputs = vec![output("local_score")];
    let status = client.model_infer(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("site_score"), "{status:?}");
}
