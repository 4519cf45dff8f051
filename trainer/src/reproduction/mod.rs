//! The experiments of the paper: commands that fit, measure and draw what its tables and figures show.
//!
//! [`sweep`] and [`compare`] run many fits and gather the results; [`plan`] reads the files that
//! describe them, `steps` runs each fit as a process of its own, `measurement` measures it, and `kept` reads the
//! results of earlier runs.

pub mod baselines;
pub mod compare;
pub mod fid;
pub mod inpaint;
mod kept;
mod measurement;
pub mod plan;
pub mod reconstruct;
pub mod recover;
mod steps;
mod summary;
pub mod sweep;
pub mod synthesize;

use clap::Subcommand;

/// A command that reproduces an experiment of the paper.
#[derive(Subcommand)]
pub enum ReproductionCommand {
    /// Fit several models, and report their detection, images and cost side by side
    Compare(compare::CompareArgs),
    /// Fit and evaluate held-out classes x seeds x settings, and print the table
    Sweep(sweep::SweepArgs),
    /// Reconstruct normal test images after many Langevin steps, and report the error
    Reconstruct(reconstruct::ReconstructArgs),
    /// Complete test images with hidden pixels in several ways, and report the error
    Inpaint(inpaint::InpaintArgs),
    /// Recover the incomplete images of a fit with learning.incomplete, and report the error
    Recover(recover::RecoverArgs),
    /// Draw samples of a bundle's prior, and interpolations between them
    Synthesize(synthesize::SynthesizeArgs),
    /// Report the Fréchet distance between a data set and generated images
    Fid(fid::FidArgs),
    /// Report how well simple detectors do on the same split
    Baselines(baselines::BaselinesArgs),
}

impl ReproductionCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Those of the command.
    pub fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Compare(args) => compare::run(args),
            Self::Sweep(args) => sweep::run(args),
            Self::Reconstruct(args) => reconstruct::run(args),
            Self::Inpaint(args) => inpaint::run(args),
            Self::Recover(args) => recover::run(args),
            Self::Synthesize(args) => synthesize::run(args),
            Self::Fid(args) => fid::run(args),
            Self::Baselines(args) => baselines::run(args),
        }
    }
}
