//! What is compared, and with what.

use std::collections::BTreeSet;
use std::fs;

use lfbm_wire::inference::ModelInferRequest;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::model_infer_request::InferInputTensor;
use lfbm_wire::score_stream_response::Result as Scored;
use lfbm_wire::{
    DataType, ExplainRequest, InferenceParameters, ScoreRequest, ScoreResponse, ScoreStreamRequest,
    Tensor, Verdict,
};
use serde_json::Value;
use tokio_stream::StreamExt;
use tonic::Request;
use tonic::transport::Channel;

use crate::common::{Server, client, eventually, http_get, metric, pixels};
use crate::{MODEL, Place, images, requests};

fn version(reply: &ScoreResponse) -> u64 {
    reply.model.as_ref().unwrap().version
}

/// Scores by REST; the version that answered.
fn post(server: &Server, method: &str, image: &[u8]) -> u64 {
    let url = format!("http://{}/v1/models/{MODEL}:{method}", server.http);
    let text = ureq::post(url)
        .send(image)
        .unwrap()
        .body_mut()
        .read_to_string();
    let reply: Value = serde_json::from_str(&text.unwrap()).unwrap();
    let score = reply.get("score").unwrap_or(&reply);
    score["model"]["version"].as_u64().unwrap()
}

#[tokio::test]
async fn the_version_that_answers_is_the_live_one_and_verdicts_are_compared_one_by_one() {
    let place = Place::with(&[1, 2]);
    let verbose = ["--log", "info,lfbm_server::shadow=debug"];
    let flags = [&["--shadow", "random-mlp:2=1"], &verbose[..]].concat();
    let (server, log) = place.serve_with_log(&flags);
    let mut client = client(&server).await;
    let requests = requests(24);
    let mut unequal = BTreeSet::new();
    // By live verdict, then shadow's.
    let mut expected = [[0.0; 2]; 2];
    let mut difference = 0.0;
    for (index, request) in requests.iter().enumerate() {
        let id = format!("image-{index}");
        let mut live = Request::new(request.clone());
        live.metadata_mut()
            .insert("x-request-id", id.parse().unwrap());
        let live = client.score(live).await.unwrap().into_inner();
        assert_eq!(version(&live), 1);
        let by_number = ScoreRequest {
            version: 2,
            ..request.clone()
        };
        let shadow = client.score(by_number).await.unwrap().into_inner();
        assert_eq!(version(&shadow), 2);
        let verdicts =
            [&live, &shadow].map(|reply| usize::from(reply.verdict() == Verdict::Anomalous));
        expected[verdicts[0]][verdicts[1]] += 1.0;
        if verdicts[0] != verdicts[1] {
            unequal.insert(id);
        }
        difference += (live.local_p_value.unwrap() - shadow.local_p_value.unwrap()).abs();
    }
    assert!(!unequal.is_empty(), "they never disagree");
    eventually("all are compared", || images(&server, "scored") == 24.0).await;
    let names = ["normal", "anomalous"];
    for (live, of_live) in expected.iter().enumerate() {
        for (shadow, count) in of_live.iter().enumerate() {
            let labels = format!(
                r#"live="{}",live_version="1",model="{MODEL}",shadow="{}",version="2""#,
                names[live], names[shadow]
            );
            let got = metric(&server, "lfbm_shadow_verdicts_total", &labels);
            assert_eq!(got, *count, "{labels}");
        }
    }
    let name = "lfbm_shadow_p_value_difference";
    assert_eq!(metric(&server, &format!("{name}_count"), ""), 24.0);
    let sum = metric(&server, &format!("{name}_sum"), "");
    assert!((sum - difference).abs() < 1e-6, "{sum}, {difference}");
    assert_eq!(images(&server, "failed") + images(&server, "dropped"), 0.0);
    let log = fs::read_to_string(log).unwrap();
    let lines = log.lines().filter(|line| line.contains("another verdict"));
    let logged = lines.map(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["request_id"].as_str().unwrap().to_owned()
    });
    assert_eq!(logged.collect::<BTreeSet<_>>(), unequal);
}

#[tokio::test]
async fn every_way_to_a_score_is_compared_and_what_has_no_verdict_is_not() {
    let place = Place::with(&[1, 2]);
    let server = place.serve(&["--shadow", "random-mlp:2=1"]);
    let mut client = client(&server).await;
    let [request] = &requests(1)[..] else {
        unreachable!()
    };
    // Their scores have no verdict, or are of the shadow version itself.
    let mask = Tensor {
        data_type: DataType::Uint8.into(),
        shape: vec![28, 28],
        data: (0..28 * 28)
            .map(|pixel| pixel % 2)
            .map(|v| v as u8)
            .collect(),
    };
    let few_steps = InferenceParameters {
        steps: Some(3),
        ..Default::default()
    };
    for not_compared in [
        ScoreRequest {
            mask: Some(mask),
            false_alarm_rate: None,
            ..request.clone()
        },
        ScoreRequest {
            inference: Some(few_steps),
            false_alarm_rate: None,
            ..request.clone()
        },
        ScoreRequest {
            version: 2,
            ..request.clone()
        },
    ] {
        client.score(not_compared).await.unwrap();
    }
    client.score(request.clone()).await.unwrap();
    // It would come after the others.
    eventually("one is compared", || images(&server, "scored") > 0.0).await;
    assert_eq!(metric(&server, "lfbm_shadow_images_total", ""), 1.0);

    let explain = ExplainRequest {
        image: request.image.clone(),
        ..Default::default()
    };
    let explained = client.explain(explain).await.unwrap().into_inner();
    assert_eq!(version(explained.score.as_ref().unwrap()), 1);
    let items = [1, 2, 3].map(|id| ScoreStreamRequest {
        id: id.to_string(),
        request: Some(request.clone()),
    });
    let replies = client.score_stream(tokio_stream::iter(items)).await;
    let replies: Vec<_> = replies.unwrap().into_inner().collect().await;
    for reply in replies {
        match reply.unwrap().result {
            Some(Scored::Score(score)) => assert_eq!(version(&score), 1),
            other => panic!("{other:?}"),
        }
    }
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut v2 = GrpcInferenceServiceClient::new(channel.connect().await.unwrap());
    let spec = lfbm_bundle::Bundle::open(&place.path(1))
        .unwrap()
        .manifest()
        .image;
    let two = [pixels(&spec, 0), pixels(&spec, 1)].concat();
    let infer = ModelInferRequest {
        model_name: MODEL.to_owned(),
        inputs: vec![InferInputTensor {
            name: "image".to_owned(),
            datatype: "UINT8".to_owned(),
            shape: vec![2, 1, 28, 28],
            ..Default::default()
        }],
        raw_input_contents: vec![two],
        ..Default::default()
    };
    let infer = v2.model_infer(infer).await.unwrap().into_inner();
    assert_eq!(infer.model_version, "1");
    let Some(lfbm_wire::image::Content::Encoded(file)) = request.image.clone().unwrap().content
    else {
        unreachable!()
    };
    assert_eq!(post(&server, "score", &file), 1);
    assert_eq!(post(&server, "explain", &file), 1);

    eventually("all are compared", || images(&server, "scored") == 9.0).await;
    let listed = http_get(&server, "/models");
    assert_eq!(listed.matches(r#""shadow":true"#).count(), 1, "{listed}");
    assert_eq!(images(&server, "failed") + images(&server, "dropped"), 0.0);
}

#[tokio::test]
async fn a_share_of_the_images_is_compared() {
    let place = Place::with(&[1, 2]);
    let server = place.serve(&["--shadow", "random-mlp:2=0.25"]);
    let mut client = client(&server).await;
    for request in requests(40) {
        client.score(request).await.unwrap();
    }
    // The sequence of picks is fixed: there are ten among the first forty.
    eventually("a quarter is scored", || images(&server, "scored") == 10.0).await;
    assert_eq!(images(&server, "failed") + images(&server, "dropped"), 0.0);
}
