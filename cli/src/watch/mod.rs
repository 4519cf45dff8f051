//! `lfbm watch`: scores what appears in a folder, every file once.

mod answer;
mod backlog;
mod events;
mod finder;
mod journal;
mod settling;
mod trouble;
mod version;
mod webhook;

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use futures_util::{StreamExt, stream};
use lfbm_process::one_line;
use lfbm_wire::GetModelRequest;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use tonic::{Code, Status};

use self::answer::Answers;
use self::backlog::Backlog;
use self::finder::{GivenBack, Search};
use self::journal::Journal;
use self::trouble::Trouble;
use self::version::Version;
use self::webhook::{Webhook, WebhookArgs};
use crate::calls::CallArgs;
use crate::connection::{Connection, Connector, seconds};
use crate::inference::{InferenceArgs, VerdictArgs};
use crate::score::Scorer;
use crate::status::{code, delay, describe, failure};
use crate::stop::Stop;

/// Lines that reach the disk together, at most.
const MAX_BATCH: usize = 256;

const EXAMPLES: &str = "\
Examples:
  lfbm watch parts/ --out scores.jsonl
  lfbm watch parts/ --out scores.jsonl --webhook https://example.com/parts --webhook-secret-file secret
  lfbm watch /mnt/nfs/parts --out scores.jsonl --settle-s 10 --rescan-s 5

FILE has a line of JSON for every image file, as `lfbm score --json` prints it, and is the record of what is
done: killed and started again, lfbm watch goes on where it was. A file that cannot be scored has a line with
its error. A file that is written again under its name, so that its size or modification time changes, is
scored again. While the server does not answer, lfbm watch waits.

Exit codes: 0 SIGINT or SIGTERM; 1 FILE or DIR cannot be used, or the server refuses the parameters; 2 usage.";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchArgs {
    /// The folder, with all below; files that are there already are scored, too
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Where the lines go; created if absent, and used by one lfbm watch at a time
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Seconds for which size and modification time of a file must stay the same before it is scored, if
    /// the system did not tell that its writer closed or renamed it
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    settle_s: f64,
    /// Seconds between looks at the whole folder, for what the system did not tell; network file systems
    /// tell nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    rescan_s: f64,
    #[command(flatten)]
    call: CallArgs,
    #[command(flatten)]
    verdict: VerdictArgs,
    #[command(flatten)]
    webhook: WebhookArgs,
}

pub(crate) async fn run(
    connector: &Connector,
    args: &WatchArgs,
    stop: &Stop,
) -> anyhow::Result<ExitCode> {
    tokio::select! {
        // Lines that are being written are written to their end: a thread does that.
        () = stop.comes() => Ok(ExitCode::SUCCESS),
        ended = watch(connector, args) => ended.map(|never| match never {}),
    }
}

async fn watch(connector: &Connector, args: &WatchArgs) -> anyhow::Result<Infallible> {
    let search = Search {
        folder: std::path::absolute(&args.folder)
            .with_context(|| args.folder.display().to_string())?,
        output: std::path::absolute(&args.out).with_context(|| args.out.display().to_string())?,
        settle: seconds("--settle-s", args.settle_s)?,
        rescan: seconds("--rescan-s", args.rescan_s)?,
    };
    let masks = args.call.masks()?;
    let webhook = args.webhook.open(&args.out)?;
    let offset = webhook.as_ref().map_or(0, Webhook::offset);
    let (journal, recorded) = Journal::open(&args.out, offset)?;
    let max_backlog = webhook.as_ref().map(|webhook| webhook.max_backlog);
    let backlog = Backlog::new(max_backlog, journal.bytes(), recorded.lines_after);
    let trouble = Trouble::of("the server");
    let folder = search.folder.clone();
    let done = recorded.done.len();
    let given_back = GivenBack::default();
    let found = finder::start(search, recorded.done, given_back.clone())
        .with_context(|| args.folder.display().to_string())?;
    eprintln!(
        "lfbm: watching {}; {done} lines are in {}",
        args.folder.display(),
        args.out.display()
    );
    let score = async {
        let client = reach(connector, &args.call.inference, &trouble).await?;
        let at_once = args.call.concurrency();
        let scorer = Scorer::new(
            client,
            connector.timeout(),
            at_once,
            &args.call.inference,
            args.call.priority(true),
        )
        .with_false_alarm_rate(args.verdict.false_alarm_rate);
        let answers = Answers {
            folder,
            scorer,
            masks,
            trouble,
        };
        let versions = stream::unfold(found, async |mut found| {
            backlog.room().await;
            found.recv().await.map(|version| (version, found))
        });
        let answered = versions
            .map(async |version| {
                let answer = answers.to(&version).await;
                (version, answer)
            })
            .buffer_unordered(at_once);
        record(answered, journal, &backlog, &given_back).await
    };
    match webhook {
        None => score.await,
        Some(webhook) => tokio::select! {
            ended = score => ended,
            ended = webhook.deliver(&backlog) => ended,
        },
    }
}

/// Writes the lines of what is answered.
async fn record(
    answered: impl stream::Stream<Item = (Version, anyhow::Result<Option<String>>)>,
    mut journal: Journal,
    backlog: &Backlog,
    given_back: &GivenBack,
) -> anyhow::Result<Infallible> {
    let mut batches = pin!(answered.ready_chunks(MAX_BATCH));
    while let Some(batch) = batches.next().await {
        let (mut text, mut lines) = (String::new(), 0);
        for (version, answer) in batch {
            match answer? {
                Some(line) => {
                    text += &line;
                    lines += 1;
                }
                None => given_back.add(version),
            }
        }
        if lines > 0 {
            let append = move || {
                journal
                    .append(text.as_bytes())
                    .map(|bytes| (journal, bytes))
            };
            let bytes;
            (journal, bytes) = tokio::task::spawn_blocking(append).await??;
            backlog.add(lines, bytes);
        }
    }
    bail!("the thread that looks for files has ended")
}

/// Connects to a server that has the model, however long it is away.
///
/// # Errors
/// When a server answers, and refuses.
async fn reach(
    connector: &Connector,
    inference: &InferenceArgs,
    trouble: &Trouble,
) -> anyhow::Result<AnomalyDetectorClient<Connection>> {
    let mut attempt = 0;
    loop {
        let (reason, status) = match connector.detector().await {
            Ok(client) => match ask_for_model(client.clone(), inference).await {
                Ok(()) => {
                    trouble.end();
                    return Ok(client);
                }
                Err(status) if is_final(&status) => return Err(failure(status)),
                Err(status) => (describe(&status), status),
            },
            Err(error) => (one_line(error.as_ref()), Status::unavailable("")),
        };
        trouble.tell(&reason);
        tokio::time::sleep(delay(&status, attempt)).await;
        attempt = attempt.saturating_add(1);
    }
}

async fn ask_for_model(
    mut client: AnomalyDetectorClient<Connection>,
    inference: &InferenceArgs,
) -> Result<(), Status> {
    let request = GetModelRequest {
        model: inference.model.clone(),
        version: inference.model_version,
    };
    client.get_model(request).await.map(drop)
}

/// Whether the first answer says that the command is wrong. Later it may be the server that changes.
fn is_final(status: &Status) -> bool {
    matches!(
        code(status),
        Code::InvalidArgument
            | Code::NotFound
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::Unimplemented
    )
}
