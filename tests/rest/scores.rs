//! The same answers as by gRPC.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lfbm_wire::{
    Aggregation, ExplainRequest, InferenceParameters, SampleRequest, ScoreResponse, Verdict,
};
use serde_json::{Value, json};

use crate::common::{Server, bundle, client, encoded, metric, pixels, png};
use crate::{agent, path, post, post_json, send_with};

/// Whether JSON says what a message says, to the last digit.
fn assert_same(json: &Value, reply: &ScoreResponse) {
    for (name, expected) in [
        ("log_joint", Some(reply.log_joint)),
        ("log_prior", Some(reply.log_prior)),
        ("log_likelihood", Some(reply.log_likelihood)),
        ("log_joint_std", Some(reply.log_joint_std)),
        ("log_prior_std", Some(reply.log_prior_std)),
        ("log_likelihood_std", Some(reply.log_likelihood_std)),
        ("p_value", reply.p_value),
        ("local_score", reply.local_score),
        ("local_p_value", reply.local_p_value),
    ] {
        assert_eq!(json[name].as_f64(), expected, "{name} of {json}");
    }
    let verdict = match reply.verdict() {
        Verdict::Unspecified => Value::Null,
        Verdict::Normal => "normal".into(),
        Verdict::Anomalous => "anomalous".into(),
    };
    assert_eq!(json["verdict"], verdict);
    let model = reply.model.as_ref().unwrap();
    let expected = json!({"name": model.name, "version": model.version});
    assert_eq!(json["model"], expected);
    assert_eq!(json["prior_unnormalized"], reply.prior_unnormalized);
    assert!(json["compute_time_s"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn scores_are_those_of_grpc_to_the_last_digit() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let file = png(pixels(&bundle.manifest().image, 3));
    let expected = client.score(encoded(file.clone())).await.unwrap();
    let expected = expected.into_inner();
    let base64 = BASE64_STANDARD.encode(&file);
    let versioned = "/v1/models/random-mlp/versions/1:score";
    for answer in [
        post(&server, &path("score"), &[], &file),
        post(&server, versioned, &[("content-type", "image/png")], &file),
        // What curl says of --data-binary.
        post(
            &server,
            &path("score"),
            &[("content-type", "application/x-www-form-urlencoded")],
            &file,
        ),
        post_json(&server, &path("score"), &json!({"image": base64})),
    ] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_same(&answer.json(), &expected);
    }

    let mut request = encoded(file.clone());
    request.inference = Some(InferenceParameters {
        seed: Some(u64::MAX),
        steps: Some(7),
        step_size: Some(0.05),
        chains: Some(3),
        noise_free_steps: Some(2),
        aggregation: Aggregation::LogMeanExp.into(),
    });
    let expected = client.score(request).await.unwrap().into_inner();
    let query = "seed=18446744073709551615&steps=7&step_size=0.05&chains=3&noise_free_steps=2\
                 &aggregation=log_mean_exp&priority=bulk&timeout_ms=60000";
    let parameters = json!({"seed": u64::MAX, "steps": 7, "step_size": 0.05, "chains": 3,
        "noise_free_steps": 2, "aggregation": "log_mean_exp", "priority": "interactive"});
    let in_json = json!({"image": base64, "parameters": parameters});
    let url = format!("{}?{query}", path("score"));
    for answer in [
        post(&server, &url, &[], &file),
        post_json(&server, &path("score"), &in_json),
    ] {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_same(&answer.json(), &expected);
    }
    let scored = r#"code="Ok",method="Score",model="random-mlp""#;
    assert_eq!(metric(&server, "lfbm_requests_total", scored), 8.0);
}

#[tokio::test]
async fn a_mask_and_tensors_come_in_json() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let bytes = pixels(&bundle.manifest().image, 1);
    let mask: Vec<u8> = (0..784).map(|pixel| u8::from(pixel % 28 < 14)).collect();
    let tensor = |bytes: &[u8]| json!({"data_type": "uint8", "shape": [28, 28], "data": BASE64_STANDARD.encode(bytes)});
    let mut request = encoded(png(bytes.clone()));
    request.mask = Some(lfbm_wire::Tensor {
        data_type: lfbm_wire::DataType::Uint8.into(),
        shape: vec![28, 28],
        data: mask.clone(),
    });
    let expected = client(&server).await.score(request).await.unwrap();
    let body = json!({"image": tensor(&bytes), "mask": tensor(&mask)});
    let answer = post_json(&server, &path("score"), &body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_same(&answer.json(), &expected.into_inner());
    assert_eq!(answer.json()["p_value"], Value::Null);
}

#[tokio::test]
async fn explanations_are_json_or_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let file = png(pixels(&bundle.manifest().image, 3));
    let request = ExplainRequest {
        image: encoded(file.clone()).image,
        ..Default::default()
    };
    let expected = client(&server).await.explain(request).await.unwrap();
    let expected = expected.into_inner();
    let answer = post(&server, &path("explain"), &[], &file);
    assert_eq!(answer.status, 200, "{answer:?}");
    let got = answer.json();
    assert_same(&got["score"], expected.score.as_ref().unwrap());
    assert_eq!(
        got["chains"].as_array().unwrap().len(),
        expected.chains.len()
    );
    for (name, image) in [
        ("reconstruction", expected.reconstruction.unwrap()),
        ("residual", expected.residual.unwrap()),
    ] {
        let tensor = image.tensor.unwrap();
        assert_eq!(
            got[name]["png"],
            BASE64_STANDARD.encode(&image.png),
            "{name}"
        );
        let data = BASE64_STANDARD.encode(&tensor.data);
        assert_eq!(got[name]["tensor"]["data"], data, "{name}");
        assert_eq!(got[name]["tensor"]["data_type"], "float32");
        assert_eq!(got[name]["tensor"]["shape"], json!([1, 28, 28]));
    }
    let only = post(
        &server,
        &format!("{}?form=png", path("explain")),
        &[],
        &file,
    );
    assert_eq!(only.json()["residual"]["tensor"], Value::Null);

    for (accept, content_type) in [
        ("image/png;q=0, application/json", "application/json"),
        ("image/png;q=0", "application/json"),
        ("application/json;q=0.5, image/png", "image/png"),
        ("image/*;q=0.1, */*;q=0.9", "application/json"),
        ("application/json, image/png", "application/json"),
        ("IMAGE/PNG; Q=0.4, */*; q=0.3", "image/png"),
        ("text/html, image/*, */*;q=0.8", "image/png"),
        ("*/*", "application/json"),
    ] {
        let answer = post(&server, &path("explain"), &[("accept", accept)], &file);
        assert_eq!(answer.header("content-type"), content_type, "{accept}");
    }
    let accept = [("accept", "image/png")];
    let answer = post(&server, &path("explain"), &accept, &file);
    assert_eq!(answer.header("content-type"), "image/png");
    let overlay = image::load_from_memory(&answer.body).unwrap();
    assert_eq!((overlay.width(), overlay.height()), (28, 28));
    let colours = overlay.to_rgb8();
    let is_grey = |pixel: &image::Rgb<u8>| pixel.0[0] == pixel.0[2];
    assert!(!colours.pixels().all(is_grey), "nothing differs");
}

#[tokio::test]
async fn samples_are_those_of_grpc() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let request = SampleRequest {
        count: 2,
        seed: Some(9),
        ..Default::default()
    };
    let expected = client(&server).await.sample(request).await.unwrap();
    let expected = expected.into_inner();
    let by_query = post(
        &server,
        &format!("{}?count=2&seed=9", path("sample")),
        &[],
        b"",
    );
    let parameters = json!({"parameters": {"count": 2, "seed": 9}});
    let by_json = post_json(&server, &path("sample"), &parameters);
    for answer in [by_query, by_json] {
        assert_eq!(answer.status, 200, "{answer:?}");
        let images = answer.json()["images"].clone();
        assert_eq!(images.as_array().unwrap().len(), 2);
        for (got, expected) in images.as_array().unwrap().iter().zip(&expected.images) {
            assert_eq!(got["png"], BASE64_STANDARD.encode(&expected.png));
        }
    }
}

#[tokio::test]
async fn models_are_listed_and_described() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let get = |path: &str| {
        let url = format!("http://{}{path}", server.http);
        send_with(&agent(), "GET", &url, &[], b"")
    };
    let all = get("/v1/models").json();
    for path in ["/v1/models/random-mlp", "/v1/models/random-mlp/versions/1"] {
        let model = get(path).json();
        assert_eq!(all, json!({"models": [model]}));
        let manifest = bundle.manifest();
        assert_eq!(model["name"], manifest.name);
        assert_eq!(
            model["image"],
            json!({"channels": 1, "height": 28, "width": 28})
        );
        assert_eq!(model["inference"]["steps"], manifest.langevin.steps);
        assert_eq!(
            model["threshold_log_joint"].as_f64(),
            Some(manifest.calibration.threshold_log_joint)
        );
        assert_eq!(model["prior"], "flow");
    }
}
