//! `lfbm`: the client of lfbm-server.

#![forbid(unsafe_code)]

mod bench;
mod calls;
mod chain;
mod connection;
mod explain;
mod health;
mod inference;
mod inpaint;
mod inputs;
mod local;
mod mask;
mod models;
mod nearest;
mod objects;
mod output;
mod pinned;
mod sample;
mod score;
mod status;
mod stop;
mod watch;

use std::process::ExitCode;

use anyhow::anyhow;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use lfbm_process::one_line;

use self::connection::{ConnectionArgs, Connector};
use self::stop::Stop;

const HELP: &str = "\
Example:
  lfbm --server inspection:50051 score parts/

Exit codes: 0 success; 1 the server refused, or did not answer; 2 usage; 3 an anomaly, with `lfbm score
--fail-on-anomaly`; 130 SIGINT and 143 SIGTERM, after results so far. After a signal `lfbm watch` has 0, and
`lfbm bench` has 0 if a request succeeded.";

/// Scores images with a running lfbm-server: how likely is each among normal images?
#[derive(Parser)]
#[command(name = "lfbm", version, after_help = HELP)]
struct Cli {
    #[command(flatten)]
    connection: ConnectionArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Score images: how likely is each, under a model of normal images?
    Score(score::ScoreArgs),
    /// Score the images that appear in a folder, each once, into a file
    Watch(watch::WatchArgs),
    /// Show where images differ from what the model expects, as heatmaps
    Explain(explain::ExplainArgs),
    /// Complete images whose pixels are hidden in part
    Inpaint(inpaint::InpaintArgs),
    /// Draw images from the model
    Sample(sample::SampleArgs),
    /// List the models that the server has
    Models(models::ModelsArgs),
    /// Ask whether the server, or a model, serves; the exit code is 0 if so
    Health(health::HealthArgs),
    /// Put load on a server and measure how it bears it
    Bench(bench::BenchArgs),
    /// Print a script that completes lfbm's arguments in a shell
    #[command(after_help = "Example:\n  source <(lfbm completions bash)")]
    Completions {
        /// The shell
        shell: Shell,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli: Cli = lfbm_settings::from_arguments();
    let stop = Stop::listen();
    let ended = match &stop {
        Ok(stop) => run(&cli, stop).await,
        Err(error) => Err(anyhow!("signals cannot be caught: {error}")),
    };
    let error = match ended {
        Ok(code) => return code,
        Err(error) => error,
    };
    eprintln!("lfbm: {}", one_line(error.as_ref()));
    let stopped = stop.ok().and_then(|stop| stop.code());
    stopped.map_or(ExitCode::FAILURE, ExitCode::from)
}

async fn run(cli: &Cli, stop: &Stop) -> anyhow::Result<ExitCode> {
    let connector = || Connector::new(&cli.connection);
    match &cli.command {
        Command::Score(args) => return score::run(&connector()?, args, stop).await,
        Command::Watch(args) => return watch::run(&connector()?, args, stop).await,
        Command::Explain(args) => explain::run(&connector()?, args, stop).await?,
        Command::Inpaint(args) => inpaint::run(&connector()?, args, stop).await?,
        Command::Sample(args) => stop.or(sample::run(&connector()?, args)).await?,
        Command::Models(args) => stop.or(models::run(&connector()?, args)).await?,
        Command::Health(args) => {
            let connector = match &cli.connection.server {
                Some(_) => connector()?,
                None => local::connector(&cli.connection)?,
            };
            stop.or(health::run(&connector, args)).await?;
        }
        Command::Bench(args) => bench::run(&connector()?, args, stop).await?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "lfbm", &mut script);
            output::print_line(String::from_utf8(script)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
