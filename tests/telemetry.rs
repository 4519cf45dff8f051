//! What the server says about itself: metrics that Prometheus accepts and that say what happened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Server, bundle, client, encoded, http_get, metric, pixels, png};
use lfbm_bundle::manifest::ImageSpec;
use lfbm_wire::{InferenceParameters, ScoreRequest};

fn request(spec: &ImageSpec, index: usize) -> ScoreRequest {
    encoded(png(pixels(spec, index)))
}

/// The text of `/metrics`, without the head of the reply.
fn scrape(server: &Server) -> String {
    let reply = http_get(server, "/metrics");
    reply.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// What `promtool check metrics` says of `text`; empty when nothing is wrong.
fn promtool(text: &str) -> String {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("third_party/bin/promtool");
    let program = if fetched.exists() {
        fetched
    } else {
        "promtool".into()
    };
    let mut check = Command::new(program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is needed; `make promtool` puts it where this test looks");
    let mut stdin = check.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = check.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success() || !said.is_empty());
    said
}

#[tokio::test]
async fn metrics_under_traffic_are_what_prometheus_wants() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let server = Server::start(bundle.dir(), folder.path(), &["--max-steps", "50"]);
    let mut client = client(&server).await;
    for index in 0..5 {
        client.score(request(&spec, index)).await.unwrap();
    }
    client.score(encoded(vec![1, 2, 3])).await.unwrap_err();
    let mut too_long = request(&spec, 0);
    too_long.inference = Some(InferenceParameters {
        steps: Some(51),
        ..Default::default()
    });
    client.score(too_long).await.unwrap_err();
    let mut other = request(&spec, 0);
    other.model = "other".to_owned();
    client.score(other).await.unwrap_err();

    let text = scrape(&server);
    assert_eq!(promtool(&text), "", "{text}");
    let requests = |labels: &str| metric(&server, "lfbm_requests_total", labels);
    for (labels, count) in [
        (r#"code="Ok",method="Score",model="random-mlp""#, 5.0),
        (
            r#"code="InvalidArgument",method="Score",model="random-mlp""#,
            2.0,
        ),
        (r#"code="NotFound",method="Score",model="""#, 1.0),
    ] {
        assert_eq!(requests(labels), count, "{labels}: {text}");
    }
    let labels = r#"model="random-mlp",version="1""#;
    for (name, value) in [
        ("lfbm_score_log_joint_nats_count", 5.0),
        ("lfbm_score_p_value_count", 5.0),
        ("lfbm_queue_duration_seconds_count", 5.0),
        ("lfbm_compute_duration_seconds_count", 5.0),
        ("lfbm_drift_window_scores", 5.0),
        // K + 1 runs for each.
        ("lfbm_chain_steps_total", 5.0 * 21.0),
    ] {
        assert_eq!(metric(&server, name, labels), value, "{name}: {text}");
    }
    for priority in ["interactive", "bulk"] {
        let waiting = format!(r#"lfbm_chains_waiting{{model="random-mlp",priority="{priority}""#);
        assert!(text.contains(&waiting), "{waiting}: {text}");
    }
    let build = format!(
        r#"onnxruntime="1.30.0",version="{}""#,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(metric(&server, "lfbm_build_info", &build), 1.0, "{text}");
    let quantiles = &bundle.manifest().calibration.quantiles;
    let lowest = quantiles[0].log_joint;
    let bucket = format!(r#"le="{lowest}""#);
    assert!(text.contains(&bucket), "{bucket}: {text}");
}

/// Only the window counts, and only what was scored as the calibration set was.
#[tokio::test]
async fn drift_is_that_of_the_last_scores_at_default_parameters() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let server = Server::start(bundle.dir(), folder.path(), &["--drift-window", "8"]);
    let mut client = client(&server).await;
    let gauge = |name: &str| metric(&server, name, "");
    assert_eq!(gauge("lfbm_drift_window_scores"), 0.0);
    assert!(!scrape(&server).contains("lfbm_drift_kolmogorov_distance{"));
    let mut p_values = Vec::new();
    for index in 0..12 {
        let mut request = request(&spec, index);
        let score = client.score(request.clone()).await.unwrap().into_inner();
        p_values.push(score.local_p_value.unwrap());
        request.inference = Some(InferenceParameters {
            steps: Some(3),
            ..Default::default()
        });
        client.score(request).await.unwrap();
    }
    let window = &p_values[4..];
    let values = bundle.manifest().calibration.ranked() + 1;
    let share = |limit: f64| {
        let below = window.iter().filter(|&&p_value| p_value <= limit + 1e-9);
        below.count() as f64 / window.len() as f64
    };
    let distances = (1..=values).map(|k| k as f64 / values as f64);
    let distance = distances.map(|p| (share(p) - p).abs()).fold(0.0, f64::max);
    assert_eq!(gauge("lfbm_drift_window_scores"), 8.0);
    assert_eq!(gauge("lfbm_drift_p_value_below_001_ratio"), share(0.01));
    let got = gauge("lfbm_drift_kolmogorov_distance");
    assert!((got - distance).abs() < 1e-9, "{got} {distance}");
}

/// Grey images are far from noise, and the model, which was calibrated on noise, finds them likely.
#[tokio::test]
async fn drift_watches_the_score_that_makes_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let manifest = bundle.dir().join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    for decision in ["local", "log_joint"] {
        let decided = text.replace(
            r#""decision": "local""#,
            &format!(r#""decision": "{decision}""#),
        );
        fs::write(&manifest, decided).unwrap();
        let server = Server::start(bundle.dir(), folder.path(), &[]);
        let mut client = client(&server).await;
        for grey in 120..136 {
            let reply = client
                .score(encoded(png(vec![grey; 28 * 28])))
                .await
                .unwrap();
            let score = reply.into_inner();
            assert!(score.p_value > Some(0.2), "{score:?}");
            assert!(score.local_p_value < Some(0.05), "{score:?}");
        }
        let label = format!(r#"decision="{decision}",model="random-mlp",version="1""#);
        let unusual = format!(r#"{label},le="0.05""#);
        let got = metric(&server, "lfbm_score_p_value_bucket", &unusual);
        assert_eq!(got, if decision == "local" { 16.0 } else { 0.0 });
        assert_eq!(metric(&server, "lfbm_drift_window_scores", &label), 16.0);
        let distance = metric(&server, "lfbm_drift_kolmogorov_distance", &label);
        assert_eq!(
            distance > 0.9,
            decision == "local",
            "{decision}: {distance}"
        );
    }
}
