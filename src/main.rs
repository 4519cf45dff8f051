//! `lfbm-server`.

#![forbid(unsafe_code)]

use anyhow::Context;
use clap::ArgMatches;
use lfbm_process::environment::execute_with;
use lfbm_process::one_line;
use lfbm_runtime::NO_TELEMETRY;
use lfbm_server::config::Config;
use lfbm_server::server::Server;
use lfbm_server::shutdown::{self, Stop};
use lfbm_server::telemetry;

fn main() {
    execute_with(&[NO_TELEMETRY]);
    let code = match run(&lfbm_settings::arguments::<Config>()) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("lfbm-server: {}", one_line(error.as_ref()));
            1
        }
    };
    shutdown::exit(code)
}

fn run(arguments: &ArgMatches) -> anyhow::Result<()> {
    // Before anything is written.
    shutdown::outlive_file_limits().context("signals cannot be caught")?;
    let foreign = Config::foreign_variables()?;
    let config = Config::load(arguments)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let entered = runtime.enter();
    let telemetry = telemetry::init(&config.telemetry)?;
    if !foreign.is_empty() {
        let variables = foreign.join(", ");
        tracing::info!(variables, "these are no settings of the server");
    }
    let result = runtime.block_on(async {
        // Before anything is loaded, so that a stop at any time is a clean one.
        let stop = Stop::listen().context("signals cannot be caught")?;
        let mut stopped = stop.clone();
        let server = tokio::select! {
            started = Server::start(config, &stop) => started?,
            () = stopped.comes() => {
                tracing::info!("stopped while models were loaded");
                return Ok(());
            }
        };
        server.serve().await
    });
    drop((telemetry, entered));
    // A thread that loads a model, or waits for a disk, is not waited for.
    runtime.shutdown_background();
    result
}
