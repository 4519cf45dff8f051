//! The product's commands: from images, or from somebody else's model, to a bundle with a report.

pub mod calibrate;
mod checkpoints;
pub mod draw;
pub mod evaluate;
pub(crate) mod evaluation_report;
pub mod export;
pub mod extend;
pub mod fit;
mod fit_events;
mod fit_images;
pub(crate) mod fitted;
mod guarantee;
pub mod import;
mod learn;
mod scored;
pub mod split;
mod verdict;

use clap::Subcommand;

/// A command of the product.
#[derive(Subcommand)]
pub enum ProductCommand {
    /// Fit a model to the normal classes of a data set, and write a bundle
    Fit(fit::FitArgs),
    /// Score the test images of a bundle's fit, and report how well anomalies are found
    Evaluate(evaluate::EvaluateArgs),
    /// Calibrate a bundle again, without fitting
    Calibrate(calibrate::CalibrateArgs),
    /// Add normal images to a bundle's memory bank and calibration, without fitting
    Extend(extend::ExtendArgs),
    /// Write the model of a checkpoint as a bundle
    Export(export::ExportArgs),
    /// Write a model that was exported as ONNX elsewhere as a bundle
    Import(import::ImportArgs),
    /// Choose normal test images that have no near-duplicate in the fit
    Split(split::SplitArgs),
    /// Draw digits, cloth, or samples of a bundle's model, as PNG files or data sets
    Draw(draw::DrawArgs),
}

impl ProductCommand {
    /// Runs the command.
    ///
    /// # Errors
    /// Those of the command.
    pub fn run(&self) -> anyhow::Result<()> {
        match self {
            Self::Fit(args) => fit::run(args),
            Self::Evaluate(args) => evaluate::run(args),
            Self::Calibrate(args) => calibrate::run(args),
            Self::Extend(args) => extend::run(args),
            Self::Export(args) => export::run(args),
            Self::Import(args) => import::run(args),
            Self::Split(args) => split::run(args),
            Self::Draw(args) => draw::run(args),
        }
    }
}
