//! Shadow versions that are not there yet, come and go.

use std::fs;

use lfbm_model::GeneratorName;

use crate::common::{client, eventually, http_get, metric};
use crate::{Place, images, look, requests};

#[tokio::test]
async fn a_missing_shadow_version_is_said_and_may_come_and_go() {
    let place = Place::with(&[1]);
    let server = place.serve(&["--shadow", "random-mlp:7=1"]);
    let served = || metric(&server, "lfbm_shadow_served", r#"version="7""#);
    let missing = "shadow version not served: random-mlp:7";
    let health = http_get(&server, "/healthz");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(health.contains(missing), "{health}");
    assert!(http_get(&server, "/metrics").contains("lfbm_shadow_served{"));
    assert_eq!(served(), 0.0);
    let mut client = client(&server).await;
    let [request] = &requests(1)[..] else {
        unreachable!()
    };
    client.score(request.clone()).await.unwrap();
    eventually("the comparison fails", || images(&server, "failed") == 1.0).await;

    place.publish(7, GeneratorName::Mlp, &[]);
    look(&server);
    eventually("the shadow version is served", || served() == 1.0).await;
    assert!(!http_get(&server, "/healthz").contains(missing));
    let reply = client.score(request.clone()).await.unwrap().into_inner();
    assert_eq!(reply.model.unwrap().version, 1, "7 is not the latest");
    eventually("both are compared", || images(&server, "scored") == 1.0).await;

    fs::remove_dir_all(place.path(7)).unwrap();
    look(&server);
    eventually("the shadow version is gone", || served() == 0.0).await;
    client.score(request.clone()).await.unwrap();
    eventually("the comparison fails", || images(&server, "failed") == 2.0).await;
}

#[tokio::test]
async fn another_live_version_is_compared_under_its_own_number() {
    let place = Place::with(&[1, 3]);
    let server = place.serve(&["--shadow", "random-mlp:3=1"]);
    let mut client = client(&server).await;
    let [request] = &requests(1)[..] else {
        unreachable!()
    };
    client.score(request.clone()).await.unwrap();
    place.publish(2, GeneratorName::Mlp, &[]);
    look(&server);
    let listed = || http_get(&server, "/models").contains(r#""version":2"#);
    eventually("version 2 is served", listed).await;
    let reply = client.score(request.clone()).await.unwrap().into_inner();
    assert_eq!(reply.model.unwrap().version, 2);
    eventually("both are compared", || images(&server, "scored") == 2.0).await;
    for live in [1, 2] {
        let labels = format!(r#"live_version="{live}""#);
        assert_eq!(
            metric(&server, "lfbm_shadow_verdicts_total", &labels),
            1.0,
            "{labels}"
        );
    }
}
