//! `lfbm`: the client of lfbm-server.

mod bench;
mod connection;
mod health;
mod inference;
mod inputs;
mod models;
mod score;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Asks a running lfbm-server.
#[derive(Parser)]
#[command(name = "lfbm", version)]
struct Cli {
    /// The server
    #[arg(
        long,
        global = true,
        env = "LFBM_SERVER",
        default_value = "http://127.0.0.1:50051"
    )]
    server: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Score images: how likely is each, under a model of normal images?
    Score(score::ScoreArgs),
    /// List the models that the server has
    Models(models::ModelsArgs),
    /// Ask whether the server serves; the exit code is 0 if so
    Health,
    /// Put load on a server and measure how it bears it
    Bench(bench::BenchArgs),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match &cli.command {
        Command::Score(args) => score::run(&cli.server, args).await,
        Command::Models(args) => models::run(&cli.server, args).await,
        Command::Health => health::run(&cli.server).await,
        Command::Bench(args) => bench::run(&cli.server, args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lfbm: {error:#}");
            ExitCode::FAILURE
        }
    }
}
