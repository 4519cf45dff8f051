//! Scores an image with a running `lfbm-server`, and prints score, p-value and verdict.
//!
//! ```text
//! cargo build --release --example score
//! target/release/examples/score IMAGE
//! ```
//!
//! `LFBM_SERVER` is the server's address, `HOST:PORT`.

use std::time::Duration;
use std::{env, fs};

use anyhow::Context;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::image::Content;
use lfbm_wire::{Image, ScoreRequest, Verdict};
use tonic::Request;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let path = env::args().nth(1).context("usage: score IMAGE")?;
    let server = env::var("LFBM_SERVER").unwrap_or_else(|_| "127.0.0.1:50051".to_owned());
    let mut client = AnomalyDetectorClient::connect(format!("http://{server}")).await?;

    let content = fs::read(&path).with_context(|| path.clone())?;
    let mut request = Request::new(ScoreRequest {
        image: Some(Image {
            content: Some(Content::Encoded(content)),
        }),
        ..ScoreRequest::default()
    });
    request.set_timeout(Duration::from_secs(10));
    let reply = client.score(request).await?.into_inner();

    // A model of sites has a site score, another a local score.
    let (name, score, p_value) = match reply.site_score {
        Some(score) => ("site score", Some(score), reply.site_p_value),
        None => ("local score", reply.local_score, reply.local_p_value),
    };
    // Both are absent only where a request changes the model's inference parameters or hides pixels.
    let score = score.with_context(|| format!("the reply has no {name}"))?;
    let p_value = p_value.with_context(|| format!("the reply has no p-value of the {name}"))?;
    let verdict = match reply.verdict() {
        Verdict::Normal => "normal",
        Verdict::Anomalous => "anomalous",
        Verdict::Unspecified => "no verdict",
    };
    println!("{path}: {name} {score:.2}, p-value {p_value:.4}, {verdict}");
    Ok(())
}
