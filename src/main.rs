//! `lfbm-server`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use lfbm_bundle::console::one_line;
use lfbm_server::config::{Args, Config};
use lfbm_server::server::Server;
use lfbm_server::shutdown::Stop;
use lfbm_server::telemetry;

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lfbm-server: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> anyhow::Result<()> {
    let config = Config::load(args)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let _entered = runtime.enter();
    let _telemetry = telemetry::init(&config)?;
    runtime.block_on(async {
        // Before anything is loaded, so that a stop at any time is a clean one.
        let mut stop = Stop::listen().context("signals cannot be caught")?;
        match Server::start(config, &stop).await? {
            Some(server) => server.serve(stop.comes()).await,
            None => Ok(()),
        }
    })
}
