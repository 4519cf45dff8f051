//! Every class of error, as problem details.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use crate::common::{Server, bundle, metric, pixels, png};
use crate::{agent, path, post, post_json, send_with};

#[tokio::test]
async fn what_is_wrong_with_a_request_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let file = png(pixels(&bundle.manifest().image, 0));
    let base64 = BASE64_STANDARD.encode(&file);
    let score = path("score");
    let query = |query: &str| post(&server, &format!("{score}?{query}"), &[], &file);
    let json = |body| post_json(&server, &score, &body);
    for (answer, field, part) in [
        (post(&server, &score, &[], b""), "image", "no bytes"),
        (post(&server, &score, &[], b"GIF89a"), "image", "GIF"),
        (query("steps=9999"), "parameters.steps", "at most 2000"),
        (query("steps=a"), "parameters.steps", "\"a\""),
        (query("steps=3&steps=3"), "parameters.steps", "twice"),
        (query("step=3"), "parameters", "\"step\""),
        (query("priority=high"), "parameters.priority", "bulk"),
        (
            query("false_alarm_rate=often"),
            "parameters.false_alarm_rate",
            "\"often\"",
        ),
        (query("map=maybe"), "parameters.map", "true or false"),
        (query("timeout_ms=-1"), "parameters.timeout_ms", "-1"),
        (json(json!({})), "image", "neither"),
        (json(json!({"image": "%"})), "image", "base64"),
        (json(json!({"picture": 1})), "body", "picture"),
        (
            json(json!({"image": {"data_type": "int8", "shape": [28, 28], "data": ""}})),
            "image.data_type",
            "int8",
        ),
        (
            json(json!({"image": {"data_type": "uint8", "shape": [28, 28], "data": "AAEC"}})),
            "image.data",
            "784 bytes, got 3",
        ),
        (
            json(json!({"image": base64, "parameters": {"chains": 0}})),
            "parameters.chains",
            "1 to 64",
        ),
        (
            post_json(
                &server,
                &format!("{score}?seed=1"),
                &json!({"image": base64, "parameters": {"seed": 1}}),
            ),
            "parameters.seed",
            "twice",
        ),
        (
            post(&server, &score, &[("x-request-timeout-ms", "soon")], &file),
            "x-request-timeout-ms",
            "\"soon\"",
        ),
        (
            post(
                &server,
                "/v1/models/random-mlp/versions/x:score",
                &[],
                &file,
            ),
            "model_version",
            "\"x\"",
        ),
        (
            post(&server, &format!("{}?count=65", path("sample")), &[], b""),
            "parameters.count",
            "1 to 64",
        ),
        (post(&server, &path("sample"), &[], b"1"), "body", "JSON"),
    ] {
        let problem = answer.problem(400);
        let error = &problem["errors"][0];
        assert_eq!(error["field"], field, "{problem}");
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{problem}");
    }
    let both = query("steps=9999&chains=99").problem(400);
    assert_eq!(both["errors"].as_array().unwrap().len(), 2, "{both}");
    let invalid = r#"code="InvalidArgument",method="Score",model="random-mlp""#;
    assert_eq!(metric(&server, "lfbm_requests_total", invalid), 18.0);
}

#[tokio::test]
async fn paths_methods_and_models_that_there_are_not_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    for (path, part) in [
        ("/v1/models/other:score", "other"),
        ("/v1/models/random-mlp/versions/7:score", "7"),
        ("/v1/models/random-mlp:forget", "path"),
        ("/v1/", "path"),
        ("/nowhere", "path"),
    ] {
        let problem = post(&server, path, &[], b"x").problem(404);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{problem}");
    }
    let url = format!("http://{}{}", server.http, path("score"));
    for method in ["GET", "PUT", "DELETE", "BREW"] {
        let answer = send_with(&agent(), method, &url, &[], b"");
        let problem = answer.problem(405);
        assert_eq!(answer.header("allow"), "POST");
        assert!(problem["detail"].as_str().unwrap().contains(method));
    }
    let models = format!("http://{}/v1/models", server.http);
    let head = send_with(&agent(), "HEAD", &models, &[], b"");
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
}

#[tokio::test]
async fn bodies_are_bounded_and_unpacked_within_the_same_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--max-message-bytes", "65536"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let file = png(pixels(&bundle.manifest().image, 0));
    let packed = |bytes: &[u8]| {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(bytes).unwrap();
        gzip.finish().unwrap()
    };
    let gzip = [("content-encoding", "gzip")];
    let score = path("score");
    assert_eq!(post(&server, &score, &gzip, &packed(&file)).status, 200);
    let members = file.split_at(file.len() / 2);
    let members = [packed(members.0), packed(members.1)].concat();
    for name in ["GZIP", "x-gzip", "X-GZip"] {
        let encoding = [("content-encoding", name)];
        assert_eq!(
            post(&server, &score, &encoding, &members).status,
            200,
            "{name}"
        );
    }
    let long = post(&server, &score, &[], &vec![0; 65_537]).problem(413);
    assert_eq!(long["reason"], "MESSAGE_TOO_LONG");
    let bomb = packed(&vec![0; 10 << 20]);
    assert!(bomb.len() < 65_536);
    post(&server, &score, &gzip, &bomb).problem(413);
    post(&server, &score, &gzip, &file).problem(400);
    let form = [("content-type", "multipart/form-data; boundary=b")];
    let problem = post(&server, &score, &form, &file).problem(400);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("--data-binary @FILE")
    );
    let unknown = post(&server, &score, &[("content-encoding", "br")], &file);
    assert_eq!(unknown.problem(415)["reason"], "ENCODING_UNKNOWN");
    assert_eq!(post(&server, &score, &[], &file).status, 200);
}

#[tokio::test]
async fn an_image_that_never_fits_the_servers_memory_is_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let memory = [
        "--max-message-bytes",
        "4000000",
        "--max-request-memory-bytes",
        "20000000",
    ];
    let server = Server::start(bundle.dir(), folder.path(), &memory);
    let image = image::GrayImage::new(640, 640);
    let mut file = std::io::Cursor::new(Vec::new());
    image.write_to(&mut file, image::ImageFormat::Png).unwrap();
    let mut file = file.into_inner();
    file.resize(3_000_000, 0);
    let problem = post(&server, &path("score"), &[], &file).problem(400);
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("make it smaller, or start the server"),
        "{detail}"
    );
}

#[tokio::test]
async fn chains_that_diverge_are_the_requests_fault() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let file = png(pixels(&bundle.manifest().image, 0));
    let path = format!("{}?step_size=1e30&steps=20", path("score"));
    let problem = post(&server, &path, &[], &file).problem(400);
    assert_eq!(problem["reason"], "CHAINS_DIVERGED");
}
