//! Compares what a device computes with what the CPU does, and times it.
//!
//! Prints a JSON object a line, as soon as it is known, so that what was measured before a crash or a
//! time limit is not lost; `scripts/gpu-check.sh` makes a page of them. Exits with 1 when one has
//! `"passed": false`. Numbers that are not finite are null.
//!
//! ```text
//! cargo run --release -p lfbm-runtime --example device-check -- --device cuda compare
//! ```
#![forbid(unsafe_code)]

mod compare;
mod context;
mod differences;
mod graphs;
mod precisions;
mod report;
mod session;
mod times;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Parser, Subcommand};
use lfbm_runtime::Devices;

use context::Context;
use report::Report;

#[derive(Parser)]
#[command(about = "Compares a device with the CPU, and times it; a JSON object a line")]
struct Args {
    /// cpu, cuda[:N] or tensorrt[:N]
    #[arg(long, default_value_t)]
    device: Devices,
    /// A bundle that is compared beside the random models; may be given several times
    #[arg(long = "bundle")]
    bundles: Vec<PathBuf>,
    /// Fewer models, fewer rows and shorter measurements
    #[arg(long)]
    quick: bool,
    #[command(subcommand)]
    part: Part,
}

#[derive(Clone, Debug, Subcommand)]
enum Part {
    /// Opens a session on the device, and takes a step
    Session,
    /// Compares every architecture's steps with the CPU's
    Compare,
    /// Compares steps that are replayed from CUDA graphs with steps that are not
    Graphs,
    /// Compares and times lower precisions, and TensorRT
    Precisions,
    /// Times steps
    Times {
        /// Numbers of rows, with commas
        #[arg(long, value_delimiter = ',', default_value = "1,16,64,256,1024,4096")]
        rows: Vec<usize>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    ensure!(
        args.device.gpus().len() <= 1,
        "expected one device, got {}",
        args.device
    );
    let context = Context::new(args.device.first(), args.bundles, args.quick)?;
    let mut report = Report::default();
    match args.part {
        Part::Session => session::check(&context, &mut report),
        Part::Compare => compare::check(&context, &mut report),
        Part::Graphs => graphs::check(&context, &mut report),
        Part::Precisions => precisions::check(&context, &mut report),
        Part::Times { rows } => times::check(&context, &rows, &mut report),
    }?;
    Ok(report.exit_code())
}
