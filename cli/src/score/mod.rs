//! `lfbm score`.

mod format;
mod frames;
mod located;
mod scorer;
mod stream;

use std::path::Path;
use std::process::ExitCode;

use anyhow::ensure;
use clap::Args;
use lfbm_wire::{ScoreResponse, Verdict};
use tonic::Response;

use self::format::FormatArgs;
pub(crate) use self::format::{Printer, score_object};
use self::frames::FrameArgs;
pub(crate) use self::located::describe;
pub(crate) use self::scorer::Scorer;
use crate::calls::{Calls, ImageArgs};
use crate::connection::Connector;
use crate::inference::VerdictArgs;
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
  lfbm score --format csv s3://bucket/parts/ > scores.csv
  ffmpeg -i rtsp://camera/stream -vf fps=5 -f image2pipe -c:v mjpeg - | lfbm score --frames -

Exit codes: 0 every image has a score; 1 some have none; 2 usage; 3 with --fail-on-anomaly, every
image has a verdict and at least one is anomalous.";

#[derive(Args)]
#[command(after_help = EXAMPLES, mut_arg("images", |images| images.required_unless_present("frames")))]
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
    frames: FrameArgs,
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
    let mut seen = Seen {
        printer: Printer::new(&args.format, args.frames.source().is_some())?,
        anomalous: false,
        judged: true,
    };
    let result = match args.frames.source() {
        Some(source) => {
            let calls = args.images.prepare_for_frames(connector, stop).await?;
            let scorer = scorer(connector, args, &calls);
            frames::score(&args.frames, source, &calls, &scorer, &mut seen).await
        }
        None => {
            let calls = args.images.prepare(connector, stop).await?;
            score_files(&calls, &scorer(connector, args, &calls), &mut seen).await
        }
    };
    seen.printer.finish()?;
    result?;
    ensure!(
        seen.judged || !args.fail_on_anomaly,
        "there is no verdict for --fail-on-anomaly, because the inference parameters differ from \
         the model's or pixels are hidden; leave out these flags, or --fail-on-anomaly"
    );
    Ok(if args.fail_on_anomaly && seen.anomalous {
        ExitCode::from(ANOMALOUS)
    } else {
        ExitCode::SUCCESS
    })
}

/// What the images so far say.
struct Seen {
    printer: Printer,
    /// Whether one of them is anomalous.
    anomalous: bool,
    /// Whether all of them have a verdict.
    judged: bool,
}

impl Seen {
    fn take(&mut self, image: &str, reply: &ScoreResponse) -> anyhow::Result<()> {
        self.anomalous |= reply.verdict() == Verdict::Anomalous;
        self.judged &= reply.verdict() != Verdict::Unspecified;
        self.printer.add(image, reply)
    }
}

fn scorer<'a>(connector: &Connector, args: &'a ScoreArgs, calls: &Calls) -> Scorer<'a> {
    Scorer::new(
        calls.client.clone(),
        connector.timeout(),
        calls.at_once,
        &args.images.call.inference,
        calls.priority,
    )
    .with_map(args.map)
    .with_false_alarm_rate(args.verdict.false_alarm_rate)
}

async fn score_files(calls: &Calls, scorer: &Scorer<'_>, seen: &mut Seen) -> anyhow::Result<()> {
    let ask = async |path: &Path| {
        let (image, mask) = calls.read(path).await?;
        let request = scorer.request(image, mask);
        calls
            .call(async || scorer.attempt(&request).await.map(Response::new))
            .await
    };
    let take = |path: &Path, reply| seen.take(&path.display().to_string(), &reply);
    calls.for_each(ask, take).await
}
