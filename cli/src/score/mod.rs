//! `lfbm score`.

mod format;
mod located;
mod stream;

use std::path::Path;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use lfbm_wire::{ScoreResponse, Verdict};
use tonic::{Request, Response};

pub(crate) use self::format::score_object;
use self::format::{FormatArgs, Printer};
pub(crate) use self::located::describe;
use self::stream::ScoreStream;
use crate::calls::ImageArgs;
use crate::connection::{Connector, WithoutDeadline};
use crate::inference::VerdictArgs;
use crate::status::timed_out;
use crate::stop::Stop;

/// With --fail-on-anomaly.
const ANOMALOUS: u8 = 3;
const EXAMPLES: &str = "\
Examples:
  lfbm score part.png
  lfbm score --format csv parts/ > scores.csv
  find . -name '*.png' -print0 | lfbm score --files-from - --json
  lfbm score --fail-on-anomaly part.png || echo 'look at it'
  lfbm score --false-alarm-rate 0.01 parts/

Exit codes: 0 every image has a score; 1 some have none; 2 usage; 3 with --fail-on-anomaly, every
image has a verdict and at least one is anomalous.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ScoreArgs {
    #[command(flatten)]
    format: FormatArgs,
    /// Exit with 3 when a verdict is "anomalous", and with 1 when an image has none because other
    /// inference parameters than the model's are asked for, or pixels are hidden
    #[arg(long)]
    fail_on_anomaly: bool,
    /// Include the map of a model of sites in --format json
    #[arg(long)]
    map: bool,
    #[command(flatten)]
    verdict: VerdictArgs,
    #[command(flatten)]
    images: ImageArgs,
}

pub(crate) async fn run(
    connector: &Connector,
    args: &ScoreArgs,
    stop: &Stop,
) -> anyhow::Result<ExitCode> {
    let calls = args.images.prepare(connector, stop).await?;
    let inference = &args.images.inference;
    let open = || ScoreStream::new(calls.client.clone(), connector.timeout());
    let stream = (calls.images.len() > 1).then(open);
    let ask = async |image: &Path| {
        let (image, mask) = calls.read(image)?;
        let mut request = inference.score_request(image, calls.priority);
        request.mask = mask;
        request.map = args.map;
        request.false_alarm_rate = args.verdict.false_alarm_rate;
        let call = async || {
            if let Some(stream) = &stream
                && let Some(answer) = stream.score(request.clone()).await
            {
                return answer.map(Response::new);
            }
            // Those that were in the stream with it have its time together, as in there.
            let mut call = Request::new(request.clone());
            call.extensions_mut().insert(WithoutDeadline);
            let timeout = connector.timeout() * calls.at_once();
            let answer = tokio::time::timeout(timeout, calls.client.clone().score(call)).await;
            answer.unwrap_or_else(|_| Err(timed_out()))
        };
        calls.call(call).await
    };
    let mut printer = Printer::new(&args.format);
    let (mut anomalous, mut judged) = (false, true);
    let take = |image: &Path, reply: ScoreResponse| {
        anomalous |= reply.verdict() == Verdict::Anomalous;
        judged &= reply.verdict() != Verdict::Unspecified;
        printer.add(&image.display().to_string(), &reply)
    };
    let result = calls.for_each(ask, take).await;
    printer.finish()?;
    result?;
    ensure!(
        judged || !args.fail_on_anomaly,
        "there is no verdict for --fail-on-anomaly, because the inference parameters differ from \
         the model's or pixels are hidden; leave out these flags, or --fail-on-anomaly"
    );
    Ok(if args.fail_on_anomaly && anomalous {
        ExitCode::from(ANOMALOUS)
    } else {
        ExitCode::SUCCESS
    })
}
