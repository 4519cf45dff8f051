//! `lfbm score`.

mod format;

use std::path::Path;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use futures_util::{StreamExt, stream};
use lfbm_server::proto::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_server::proto::{Priority, ScoreResponse, Verdict};

use self::format::{FormatArgs, Printer};
use crate::connection::{Connection, Connector};
use crate::inference::InferenceArgs;
use crate::inputs::{InputArgs, read_image};
use crate::status::{failure, retry};

/// With --fail-on-anomaly.
const ANOMALOUS: u8 = 3;
const EXAMPLES: &str = "\
Examples:
  lfbm score part.png
  lfbm score --format csv parts/ > scores.csv
  find . -name '*.png' -print0 | lfbm score --files-from - --json
  lfbm score --fail-on-anomaly part.png || echo 'look at it'

Exit codes: 0 every image has a score; 1 some have none; 2 usage; 3 with --fail-on-anomaly, every
image has a score and at least one is anomalous.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    format: FormatArgs,
    /// Exit with 3 when a verdict is "anomalous"
    #[arg(long)]
    fail_on_anomaly: bool,
    /// Which requests the server prefers when it has much to do
    #[arg(long, value_enum)]
    priority: Option<PriorityName>,
    /// Requests that are under way at once
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
    /// Further attempts for an image, when the server is overloaded or unavailable
    #[arg(long, default_value_t = 3)]
    retry: u32,
    #[command(flatten)]
    inference: InferenceArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum PriorityName {
    Interactive,
    Bulk,
}

pub(crate) async fn run(connector: &Connector, args: &ScoreArgs) -> anyhow::Result<ExitCode> {
    let paths = args.input.find()?;
    let priority = match args.priority {
        Some(PriorityName::Interactive) => Priority::Interactive,
        Some(PriorityName::Bulk) => Priority::Bulk,
        None => Priority::Unspecified,
    };
    let client = connector.detector().await?;
    let mut replies = stream::iter(&paths)
        .map(|path| {
            let client = client.clone();
            async move { (path, score(client, path, args, priority).await) }
        })
        .buffered(args.concurrency.into());
    let mut printer = Printer::new(&args.format);
    let (mut failed, mut anomalous) = (0, 0);
    while let Some((path, reply)) = replies.next().await {
        let image = path.display().to_string();
        match reply {
            Ok(reply) => {
                anomalous += usize::from(reply.verdict() == Verdict::Anomalous);
                printer.add(&image, &reply)?;
            }
            Err(error) => {
                failed += 1;
                eprintln!("lfbm: {image}: {error:#}");
            }
        }
    }
    printer.finish()?;
    ensure!(
        failed == 0,
        "{failed} of {} images have no score",
        paths.len()
    );
    Ok(if args.fail_on_anomaly && anomalous > 0 {
        ExitCode::from(ANOMALOUS)
    } else {
        ExitCode::SUCCESS
    })
}

async fn score(
    client: AnomalyDetectorClient<Connection>,
    path: &Path,
    args: &ScoreArgs,
    priority: Priority,
) -> anyhow::Result<ScoreResponse> {
    let request = args.inference.score_request(read_image(path)?, priority);
    let reply = retry(args.retry, || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.score(request).await }
    });
    Ok(reply.await.map_err(failure)?.into_inner())
}
