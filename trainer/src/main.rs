//! `trainer`: fits models on normal images, evaluates them, and exports bundles.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use lfbm_console::environment::execute_with;
use lfbm_console::one_line;
use lfbm_runtime::NO_TELEMETRY;
use lfbm_trainer::{commands, stop, waiting};

/// Learns what normal images look like, and writes bundles that lfbm-server scores with.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fit a model on the normal classes of a data set and write it as a bundle
    Fit(commands::fit::FitArgs),
    /// Score the images that the fit left for testing, and report how well anomalies are found
    Evaluate(commands::evaluate::EvaluateArgs),
    /// Fit and evaluate held-out classes x seeds x settings, and print the table
    Sweep(commands::sweep::SweepArgs),
    /// Fit several models, and report side by side what they detect, make of images, and cost
    Compare(commands::compare::CompareArgs),
    /// Reconstruct normal test images after many steps, and report the error
    Reconstruct(commands::reconstruct::ReconstructArgs),
    /// Complete normal test images of which a part is hidden, in several ways, and report the error
    Inpaint(commands::inpaint::InpaintArgs),
    /// Recover the incomplete images of a fit with learning.incomplete, and report the error
    Recover(commands::recover::RecoverArgs),
    /// Draw samples of a bundle's prior, and what lies between them
    Synthesize(commands::synthesize::SynthesizeArgs),
    /// Report the Fréchet distance between a data set and generated images
    Fid(commands::fid::FidArgs),
    /// Report what simple detectors find on the same split
    Baselines(commands::baselines::BaselinesArgs),
    /// Write the model of a checkpoint as a bundle
    Export(commands::export::ExportArgs),
    /// Write a model that another program exported as ONNX as a bundle
    Import(commands::import::ImportArgs),
    /// Calibrate a bundle anew, without fitting
    Calibrate(commands::calibrate::CalibrateArgs),
    /// Draw digits, or sample a bundle's model, as a PNG file each; or a data set of digits
    Draw(commands::draw::DrawArgs),
}

fn main() -> ExitCode {
    let variables = waiting::passively().into_iter().chain([NO_TELEMETRY]);
    execute_with(&variables.collect::<Vec<_>>());
    let command = Cli::parse().command;
    if let Err(error) = stop::catch_signals() {
        eprintln!("trainer: signals cannot be caught: {error}");
        return ExitCode::FAILURE;
    }
    let result = match command {
        Command::Fit(args) => commands::fit::run(&args),
        Command::Evaluate(args) => commands::evaluate::run(&args),
        Command::Sweep(args) => commands::sweep::run(&args),
        Command::Compare(args) => commands::compare::run(&args),
        Command::Reconstruct(args) => commands::reconstruct::run(&args),
        Command::Inpaint(args) => commands::inpaint::run(&args),
        Command::Recover(args) => commands::recover::run(&args),
        Command::Synthesize(args) => commands::synthesize::run(&args),
        Command::Fid(args) => commands::fid::run(&args),
        Command::Baselines(args) => commands::baselines::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Calibrate(args) => commands::calibrate::run(&args),
        Command::Draw(args) => commands::draw::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(stopped) = stop::requested() {
                stopped.end();
            }
            eprintln!("trainer: {}", one_line(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}
