//! `trainer export`.

use std::path::PathBuf;

use clap::Args;
use lfbm_bundle::console::print_line;
use tch::Device;

use super::fit::new_learner;
use crate::data::{ClassSelection, split};
use crate::export::{Run, export};
use crate::fit::read_checkpoint;

/// Arguments of `trainer export`.
#[derive(Args, Clone, Debug)]
pub struct ExportArgs {
    /// The checkpoint that `trainer fit` wrote
    checkpoint: PathBuf,
    /// Where the bundle goes
    #[arg(long)]
    out: PathBuf,
    /// The folder of the data set that was fitted: calibration needs its images
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Replace a bundle that is already there
    #[arg(long)]
    overwrite: bool,
}

/// Writes the model of a checkpoint as a bundle.
///
/// # Errors
/// When the checkpoint or its data set cannot be read, or the bundle cannot be written.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    let (state, mut run) = read_checkpoint::<Run>(&args.checkpoint)?;
    run.data.data_dir.clone_from(&args.data_dir);
    let dataset = run.data.load()?;
    let classes = ClassSelection::of_names(&dataset.classes, &run.normal)?;
    let calibration = &run.settings.calibration;
    let parts = split(
        &dataset,
        &classes,
        calibration.split_seed,
        calibration.count,
    )?;
    let mut learner = new_learner(&run, Device::Cpu)?;
    learner.restore(&state)?;
    let bundle = export(
        &mut learner,
        &run,
        &dataset,
        &parts,
        &args.out,
        args.overwrite,
    )?;
    print_line(format_args!("wrote {}", bundle.dir().display()))?;
    Ok(())
}
