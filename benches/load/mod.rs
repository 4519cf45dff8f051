//! What benchmarks ask a server for.

use futures_util::stream;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::image::Content;
use lfbm_wire::score_stream_response::Result as Scored;
use lfbm_wire::{DataType, Image, ScoreRequest, ScoreStreamRequest, Tensor};
use tonic::transport::Channel;

/// A request for the score of an image that is grey all over; `shape` is C H W.
pub fn request(shape: [usize; 3]) -> ScoreRequest {
    let tensor = Tensor {
        data_type: DataType::Uint8.into(),
        shape: shape.map(|size| size as u64).to_vec(),
        data: vec![100; shape.iter().product()],
    };
    ScoreRequest {
        image: Some(Image {
            content: Some(Content::Tensor(tensor)),
        }),
        ..Default::default()
    }
}

/// Sends the request so often in one stream, and waits for all scores.
pub async fn one_stream(
    mut client: AnomalyDetectorClient<Channel>,
    request: ScoreRequest,
    images: u64,
) {
    let requests = (0..images).map(move |_| ScoreStreamRequest {
        id: String::new(),
        request: Some(request.clone()),
    });
    let answers = client.score_stream(stream::iter(requests)).await;
    let mut answers = answers.unwrap().into_inner();
    let mut scores = 0;
    while let Some(answer) = answers.message().await.unwrap() {
        assert!(
            matches!(answer.result, Some(Scored::Score(_))),
            "{answer:?}"
        );
        scores += 1;
    }
    assert_eq!(scores, images);
}
