//! `lfbm-server`.

use std::process::ExitCode;

use clap::Parser;
use lfbm_bundle::console::one_line;
use lfbm_server::config::{Args, Config};
use lfbm_server::server::Server;
use lfbm_server::{shutdown, telemetry};

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
        let stop = tokio::spawn(shutdown::signalled());
        let server = Server::start(config).await?;
        server
            .serve(async {
                match stop.await {
                    Ok(Ok(signal)) => {
                        tracing::info!(signal, "stopping");
                        tokio::spawn(shutdown::abandon_at_next_signal());
                    }
                    Ok(Err(error)) => tracing::error!(%error, "signals cannot be caught"),
                    Err(error) => tracing::error!(%error, "signals cannot be caught"),
                }
            })
            .await
    })
}
