//! Models of sites, whose explanations are maps.

use lfbm_runtime::Runtime;
use lfbm_testkit::{RandomSites, random_site_bundle};
use lfbm_wire::ExplainRequest;
use serde_json::Value;

use crate::common::{Server, client, encoded, png};
use crate::{Answer, post};

#[tokio::test]
async fn an_explanation_has_the_map_or_says_why_there_is_no_picture_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let sites = folder.path().join("sites");
    let bundle = random_site_bundle(&sites, &runtime, RandomSites::new(5)).unwrap();
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let name = &bundle.manifest().name;
    let file = png((0..784).map(|pixel| (pixel * 31 % 256) as u8).collect());
    let explain = |query: &str, headers: &[(&str, &str)]| -> Answer {
        post(
            &server,
            &format!("/v1/models/{name}:explain?{query}"),
            headers,
            &file,
        )
    };
    let request = ExplainRequest {
        image: encoded(file.clone()).image,
        ..Default::default()
    };
    let expected = client(&server).await.explain(request).await.unwrap();
    let expected = expected.into_inner();
    let map = expected.score.unwrap().map.unwrap();
    // As the console asks, and whatever the form.
    for form in ["tensor", "png", "both"] {
        let got = explain(&format!("form={form}&seed=0"), &[]).json();
        let values: Vec<f32> =
            serde_json::from_value(got["score"]["map"]["values"].clone()).unwrap();
        assert_eq!(values, map.values, "{form}");
        assert_eq!(got["reconstruction"], Value::Null);
    }

    let png = [("accept", "image/png")];
    let own = format!("chains={}", bundle.manifest().langevin.chains);
    let picture = explain(&own, &png);
    assert_eq!(picture.header("content-type"), "image/png");
    assert_eq!(picture.body, expected.overlay);
    let problem = explain("steps=3", &png).problem(400);
    let error = &problem["errors"][0];
    assert_eq!(error["field"], "parameters");
    let detail = error["detail"].as_str().unwrap();
    assert!(detail.contains("calibration"), "{problem}");
    // All that is wrong is named, as without a picture.
    let problem = explain("steps=9999&chains=99", &png).problem(400);
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "{problem}");
    let scored = explain("steps=3", &[]);
    assert_eq!(scored.status, 200, "{scored:?}");
    assert_eq!(scored.json()["score"]["map"], Value::Null);
}
