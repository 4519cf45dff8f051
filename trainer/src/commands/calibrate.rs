//! `trainer calibrate`.

use std::path::PathBuf;

use clap::Args;
use lfbm_bundle::console::print_line;
use lfbm_bundle::runtime::{Runtime, SessionOptions};
use lfbm_bundle::store::StagedBundle;

use super::evaluate::test_split;
use crate::calibrate::calibrate;
use crate::settings::{IncompleteSettings, Settings};

/// Arguments of `trainer calibrate`.
#[derive(Args, Clone, Debug)]
pub struct CalibrateArgs {
    /// The bundle, of this or an older format
    bundle: PathBuf,
    /// Where the new one goes
    #[arg(long)]
    out: PathBuf,
    /// The folder of the data set that was fitted; without it LFBM_DATA_DIR, then the cache
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// One setting: calibration.false_positive_rate=0.01
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    changes: Vec<String>,
    /// Replace a bundle that is already there
    #[arg(long)]
    overwrite: bool,
}

/// Writes the model of a bundle with another calibration, without fitting.
///
/// # Errors
/// When the bundle or its data set cannot be read, or the new bundle cannot be written.
pub fn run(args: &CalibrateArgs) -> anyhow::Result<()> {
    let settings = Settings::load(None, &args.changes)?.calibration;
    let staged = StagedBundle::of_bundle(&args.bundle, &args.out, args.overwrite)?;
    let manifest = staged.manifest().clone();
    let (dataset, parts) = test_split(&manifest, None, args.data_dir.as_deref())?;
    let runtime = Runtime::load(None)?;
    let mut inference = staged.open_inference(&runtime, &SessionOptions::default())?;
    let calibrated = calibrate(
        &mut inference,
        &manifest.langevin,
        &settings,
        &IncompleteSettings::of(&manifest)?,
        &dataset,
        &parts,
    )?;
    let bundle = staged.finish(&calibrated, settings.false_positive_rate, settings.decision)?;
    print_line(format_args!("wrote {}", bundle.dir().display()))?;
    Ok(())
}
