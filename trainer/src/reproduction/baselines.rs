//! `trainer baselines`.

use clap::Args;
use lfbm_process::print_line;

use crate::commands::evaluation_report::table;
use crate::data::{CalibrationCount, ClassArgs, DataArgs, split};
use crate::evaluate::{baselines, detection};

/// Arguments of `trainer baselines`.
#[derive(Args, Clone, Debug)]
pub struct BaselinesArgs {
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    classes: ClassArgs,
    /// The seed of the split, like calibration.split_seed of a fit
    #[arg(long, default_value_t = 0)]
    split_seed: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Reports how well simple detectors find the held-out classes, on the split that a fit makes.
///
/// # Errors
/// When the data set cannot be read, or has no normal or no held-out images.
pub fn run(args: &BaselinesArgs) -> anyhow::Result<()> {
    args.classes.check(&args.data)?;
    let dataset = args.data.load()?;
    let classes = args.classes.select_in(&dataset)?;
    // The least number of calibration images, because simple detectors are fitted on them too.
    let count = CalibrationCount::exactly(1);
    let parts = split(
        &dataset,
        &dataset.digests(),
        &classes,
        args.split_seed,
        count,
    )?;
    anyhow::ensure!(
        parts.anomalous.contains(&true),
        "the test has no anomaly; hold a class out that the data set has"
    );
    let train = dataset.gather(&[&parts.train[..], &parts.calibration].concat());
    let test = dataset.gather(&parts.test);
    let rows: Vec<_> = baselines(&train, &test, dataset.pixels())
        .into_iter()
        .map(|baseline| {
            let metrics = detection(&baseline.values, &parts.anomalous);
            (baseline.name, baseline.title, metrics)
        })
        .collect();
    if args.json {
        let metrics: serde_json::Map<_, _> = rows
            .iter()
            .map(|(name, _, metrics)| ((*name).to_owned(), serde_json::json!(metrics)))
            .collect();
        print_line(serde_json::to_string_pretty(&metrics)?)?;
    } else {
        print_line(table(&rows))?;
    }
    Ok(())
}
