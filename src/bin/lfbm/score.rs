//! `lfbm score`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::Args;
use comfy_table::{CellAlignment, Color, Table, presets};
use futures_util::{StreamExt, stream};
use lfbm_server::proto::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_server::proto::{Priority, ScoreResponse, Verdict};
use serde_json::json;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::connection::{code, detector};
use crate::inference::InferenceArgs;
use crate::inputs::{find_images, read_image};

#[derive(Args)]
pub(crate) struct ScoreArgs {
    /// PNG or JPEG files, folders of them, or - for standard input
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// One JSON object a line, as soon as the image is scored
    #[arg(long)]
    json: bool,
    /// Requests that are under way at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Seconds that a request may take
    #[arg(long, default_value_t = 30.0)]
    timeout_s: f64,
    #[command(flatten)]
    inference: InferenceArgs,
}

struct Scored {
    image: String,
    reply: anyhow::Result<ScoreResponse>,
}

pub(crate) async fn run(server: &str, args: &ScoreArgs) -> anyhow::Result<()> {
    let timeout = Duration::try_from_secs_f64(args.timeout_s)
        .context("--timeout-s: expected a number of seconds")?;
    let paths = find_images(&args.images)?;
    let client = detector(server).await?;
    let mut replies = stream::iter(paths)
        .map(|path| {
            let client = client.clone();
            async move {
                Scored {
                    reply: score(client, &path, args, timeout).await,
                    image: path.display().to_string(),
                }
            }
        })
        .buffered(args.concurrency.into());
    let mut table = new_table();
    let (mut failed, mut done) = (0, 0);
    while let Some(scored) = replies.next().await {
        done += 1;
        match (&scored.reply, args.json) {
            (Ok(reply), true) => {
                let line = as_json(&scored.image, reply);
                writeln!(std::io::stdout(), "{line}").context("standard output is closed")?;
            }
            (Ok(reply), false) => add_row(&mut table, &scored.image, reply),
            (Err(error), _) => {
                failed += 1;
                eprintln!("lfbm: {}: {error:#}", scored.image);
            }
        }
    }
    if !args.json && table.row_count() > 0 {
        writeln!(std::io::stdout(), "{table}").context("standard output is closed")?;
    }
    ensure!(failed == 0, "{failed} of {done} images have no score");
    Ok(())
}

async fn score(
    mut client: AnomalyDetectorClient<Channel>,
    path: &Path,
    args: &ScoreArgs,
    timeout: Duration,
) -> anyhow::Result<ScoreResponse> {
    let mut request = Request::new(
        args.inference
            .score_request(read_image(path)?, Priority::Unspecified),
    );
    request.set_timeout(timeout);
    match client.score(request).await {
        Ok(reply) => Ok(reply.into_inner()),
        Err(status) if code(&status) == Code::DeadlineExceeded => {
            bail!("no answer within {} s", args.timeout_s)
        }
        Err(status) => bail!("{}", status.message()),
    }
}

fn new_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "image",
        "log p(z)",
        "log p(x|z)",
        "log joint",
        "p-value",
        "verdict",
    ]);
    for column in table.column_iter_mut().skip(1).take(4) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn add_row(table: &mut Table, image: &str, reply: &ScoreResponse) {
    let verdict = verdict(reply);
    let color = match reply.verdict() {
        Verdict::Anomalous => Color::Red,
        Verdict::Normal => Color::Green,
        Verdict::Unspecified => Color::Reset,
    };
    table.add_row([
        image.into(),
        format!("{:.2}", reply.log_prior).into(),
        format!("{:.2}", reply.log_likelihood).into(),
        format!("{:.2}", reply.log_joint).into(),
        reply
            .p_value
            .map_or("-".to_owned(), |p| format!("{p:.4}"))
            .into(),
        comfy_table::Cell::new(verdict.unwrap_or("-")).fg(color),
    ]);
}

fn verdict(reply: &ScoreResponse) -> Option<&'static str> {
    match reply.verdict() {
        Verdict::Unspecified => None,
        Verdict::Normal => Some("normal"),
        Verdict::Anomalous => Some("anomalous"),
    }
}

fn as_json(image: &str, reply: &ScoreResponse) -> serde_json::Value {
    let model = reply.model.clone().unwrap_or_default();
    json!({
        "image": image,
        "log_joint": reply.log_joint,
        "log_prior": reply.log_prior,
        "log_likelihood": reply.log_likelihood,
        "log_joint_std": reply.log_joint_std,
        "log_prior_std": reply.log_prior_std,
        "log_likelihood_std": reply.log_likelihood_std,
        "p_value": reply.p_value,
        "verdict": verdict(reply),
        "model": model.name,
        "version": model.version,
        "queue_s": seconds(reply.queue_time.as_ref()),
        "compute_s": seconds(reply.compute_time.as_ref()),
    })
}

fn seconds(duration: Option<&prost_types::Duration>) -> Option<f64> {
    duration.map(|duration| duration.seconds as f64 + f64::from(duration.nanos) * 1e-9)
}
