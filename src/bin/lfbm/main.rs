//! `lfbm`: the client of lfbm-server.

mod bench;
mod calls;
mod chain;
mod connection;
mod explain;
mod health;
mod inference;
mod inpaint;
mod inputs;
mod mask;
mod models;
mod output;
mod sample;
mod score;
mod status;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use lfbm_bundle::console::one_line;

use self::connection::{ConnectionArgs, Connector};

const HELP: &str = "\
Example:
  lfbm --server inspection:50051 score parts/

Exit codes: 0 success; 1 the server refused, or did not answer; 2 usage; `lfbm score
--fail-on-anomaly` has 3 for anomalies.";

/// Asks a running lfbm-server how normal images are.
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
    match run(&Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lfbm: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    let connector = || Connector::new(&cli.connection);
    match &cli.command {
        Command::Score(args) => return score::run(&connector()?, args).await,
        Command::Explain(args) => explain::run(&connector()?, args).await?,
        Command::Inpaint(args) => inpaint::run(&connector()?, args).await?,
        Command::Sample(args) => sample::run(&connector()?, args).await?,
        Command::Models(args) => models::run(&connector()?, args).await?,
        Command::Health(args) => health::run(&connector()?, args).await?,
        Command::Bench(args) => bench::run(&connector()?, args).await?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "lfbm", &mut script);
            output::print_line(String::from_utf8(script)?)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
