//! What holds of equal requests: to the bit where the same batch is run again, and within rounding
//! whoever shares the batch.

use lfbm_model::GeneratorName;
use lfbm_runtime::Runtime;
use lfbm_testkit::{random_bundle, random_images};
use lfbm_wire::inference::ModelInferRequest;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::model_infer_request::InferInputTensor;

use crate::common::Server;

const IMAGES: usize = 64;
/// Nats, of scores of hundreds of them.
const ROUNDING: f64 = 0.01;

#[tokio::test]
async fn a_score_alone_and_among_others_is_the_same_within_rounding() {
    let runtime = Runtime::load(None).unwrap();
    for (generator, width) in [(GeneratorName::Mlp, 4), (GeneratorName::Mnist, 16)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle");
        let bundle = random_bundle(&path, &runtime, generator, 16, width, 1).unwrap();
        let spec = bundle.manifest().image;
        // One thread: all images of a call are in one batch.
        let server = Server::start(&path, folder.path(), &["--threads", "1"]);
        let client = GrpcInferenceServiceClient::connect(server.url.clone());
        let client = client.await.unwrap();
        let images = random_images(&spec, IMAGES, 9);
        let score = async |images: &[f32]| {
            let count = images.len() / spec.pixels();
            let request = ModelInferRequest {
                inputs: vec![InferInputTensor {
                    name: "image".to_owned(),
                    datatype: "FP32".to_owned(),
                    shape: vec![count as i64, 1, 28, 28],
                    ..Default::default()
                }],
                raw_input_contents: vec![images.iter().flat_map(|v| v.to_le_bytes()).collect()],
                ..Default::default()
            };
            let reply = client.clone().model_infer(request).await.unwrap();
            let reply = reply.into_inner();
            let (scores, _) = reply.raw_output_contents[0].as_chunks::<8>();
            let scores = scores.iter().map(|score| f64::from_le_bytes(*score));
            scores.collect::<Vec<_>>()
        };
        let together = score(&images).await;
        assert_eq!(together.len(), IMAGES);
        let mut most = 0.0_f64;
        for (image, together) in images.chunks(spec.pixels()).zip(together) {
            let alone = score(image).await;
            assert_eq!(alone, score(image).await, "{generator}");
            most = most.max((alone[0] - together).abs());
        }
        println!("{generator}: {most:e} nats between alone and among {IMAGES}");
        assert!(most < ROUNDING, "{generator}: {most} nats");
    }
}
