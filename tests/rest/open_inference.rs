//! The Open Inference Protocol over HTTP, by Triton's client and by hand.

use serde_json::{Value, json};

use crate::common::{Server, bundle, client, encoded, pixels, png};
use crate::python::python;
use crate::{agent, post, post_json, send_with};
use lfbm_wire::{Aggregation, InferenceParameters, Verdict};

#[tokio::test]
async fn the_client_of_triton_gets_the_scores_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let images: Vec<_> = (0..3).map(|index| pixels(&spec, index)).collect();
    let rows = images
        .iter()
        .map(|image| image.chunks(spec.width).collect());
    let rows: Vec<Vec<&[u8]>> = rows.collect();
    let file = folder.path().join("images.json");
    std::fs::write(&file, serde_json::to_string(&rows).unwrap()).unwrap();
    let arguments = [&server.http, "random-mlp", file.to_str().unwrap()];
    let got: Value = serde_json::from_slice(&python("open_inference_http.py", &arguments)).unwrap();
    assert_eq!(got["server"]["name"], "lfbm-server");
    let extensions = got["server"]["extensions"].as_array().unwrap();
    assert!(extensions.contains(&"binary_tensor_data".into()));
    assert_eq!(got["model"]["versions"], json!(["1"]));
    assert_eq!(got["model"]["inputs"][0]["shape"], json!([-1, 1, -1, -1]));

    let mut client = client(&server).await;
    let close = |got: &Value, expected: f64| crate::common::close(got.as_f64().unwrap(), expected);
    for (index, image) in images.iter().enumerate() {
        let score = client.score(encoded(png(image.clone()))).await.unwrap();
        let score = score.into_inner();
        for (name, expected) in [
            ("log_joint", score.log_joint),
            ("log_prior", score.log_prior),
            ("log_likelihood", score.log_likelihood),
            ("log_joint_std", 0.0),
            ("p_value", score.p_value.unwrap()),
            ("local_score", score.local_score.unwrap()),
            ("local_p_value", score.local_p_value.unwrap()),
        ] {
            let got = &got["scores"][name][index];
            assert!(close(got, expected), "{name} of {index}: {got}, {expected}");
        }
        let anomalous = score.verdict() == Verdict::Anomalous;
        assert_eq!(got["scores"]["anomalous"][index], anomalous);
    }
    let mut request = encoded(png(images[0].clone()));
    request.inference = Some(InferenceParameters {
        seed: Some(5),
        steps: Some(7),
        step_size: Some(0.05),
        chains: Some(3),
        noise_free_steps: Some(2),
        aggregation: Aggregation::Max.into(),
    });
    let changed = client.score(request).await.unwrap().into_inner();
    assert!(close(&got["changed"][0], changed.log_joint));
}

#[tokio::test]
async fn one_image_in_json_has_the_score_of_rest_to_the_last_digit() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let bytes = pixels(&bundle.manifest().image, 4);
    let expected = post(&server, &crate::path("score"), &[], &png(bytes.clone())).json();
    let input = json!({"name": "image", "shape": [1, 28, 28], "datatype": "UINT8", "data": bytes});
    let path = "/v2/models/random-mlp/versions/1/infer";
    let reply = post_json(&server, path, &json!({"inputs": [input]})).json();
    let data = |name: &str| {
        let outputs = reply["outputs"].as_array().unwrap();
        let output = outputs.iter().find(|output| output["name"] == name);
        output.unwrap()["data"][0].clone()
    };
    for name in ["log_joint", "log_prior", "p_value", "local_score"] {
        assert_eq!(data(name), expected[name], "{name}");
    }
    assert_eq!(data("anomalous"), expected["verdict"] == "anomalous");
    assert_eq!(reply["model_name"], "random-mlp");
    assert_eq!(reply["model_version"], "1");
}

#[tokio::test]
async fn what_is_wrong_is_said_where_clients_of_the_protocol_look() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--max-request-memory-bytes", "83886080"];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let path = "/v2/models/random-mlp/infer";
    let input = |data: Value| {
        json!({"inputs": [{"name": "image", "shape": [1, 28, 28], "datatype": "UINT8",
                           "data": data}]})
    };
    for (body, part) in [
        (json!({}), "inputs"),
        (json!({"inputs": []}), "one input"),
        (input(json!([1, 2])), "784 bytes"),
        (input(json!([256])), "got 256"),
        (input(json!([0.5])), "got 0.5"),
        (input(Value::Null), "once"),
    ] {
        let problem = post_json(&server, path, &body).problem(400);
        assert_eq!(problem["error"], problem["detail"]);
        assert!(
            problem["error"].as_str().unwrap().contains(part),
            "{problem}"
        );
    }
    // Two bytes for every number.
    let many = format!(
        r#"{{"inputs": [{{"data": [{}0]}}]}}"#,
        "0,".repeat(8_000_000)
    );
    let problem = post(&server, path, &[], many.as_bytes()).problem(400);
    assert!(
        problem["error"]
            .as_str()
            .unwrap()
            .contains("--max-request-memory-bytes")
    );
    let long = [("inference-header-content-length", "9")];
    post(&server, path, &long, b"{}").problem(400);
    let url = format!("http://{}/v2/models/other", server.http);
    send_with(&agent(), "GET", &url, &[], b"").problem(404);
}
