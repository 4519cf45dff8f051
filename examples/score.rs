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

    // Both are absent only where a request changes the model's inference parameters or hides pixels.
    let score = reply.local_score.context("the reply has no local score")?;
    let p_value = reply
        .local_p_value
        .context("the reply has no local p-value")?;
    let verdict = match reply.verdict() {
        Verdict::Normal => "normal",
        Verdict::Anomalous => "anomalous",
        Verdict::Unspecified => "no verdict",
    };
    println!("{path}: local score {score:.2}, p-value {p_value:.4}, {verdict}");
    Ok(())
}
