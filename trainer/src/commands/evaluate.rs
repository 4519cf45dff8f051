//! `trainer evaluate`.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::ensure;
use clap::Args;
use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::{Decision, Manifest};
use lfbm_process::print_line;
use lfbm_runtime::{Inference, Precision, Runtime, SessionOptions};

use super::evaluation_report::{Row, draw_pictures, flagged, scores_csv, summary, table};
use super::fitted::{Fitted, Sought, images_of, split_of_the_fit, warn_of_leak, warn_unknown};
use super::guarantee;
use super::scored::{Scored, columns, score};
use super::verdict::Verdict;
use crate::data::{
    ChangedDataArg, ClassSelection, Dataset, DatasetName, Relation, SkipDamagedArg, Split,
};
use crate::evaluate::{
    Baseline, TestScores, curves, detection, draw_charts, nearest_neighbour,
    nearest_neighbour_bytes,
};
use crate::memory::free_bytes;
use crate::output::{OutputFolder, prepare_folder};

/// The calibration does not fit when, if it did, as many false alarms had a lower probability.
const LEVEL: f64 = 0.01;
/// Columns whose curves are drawn.
const CHARTED: [&str; 5] = [
    "local_score",
    "site_score",
    "log_joint",
    "patch_distance",
    "nearest_neighbour_pca50",
];

/// Arguments of `trainer evaluate`.
#[derive(Args, Clone, Debug)]
pub struct EvaluateArgs {
    /// The bundle
    bundle: PathBuf,
    /// The data set; by default that of the fit
    #[arg(long, value_enum)]
    dataset: Option<DatasetName>,
    /// The folder of its files, or of other images, which are then all tested; by default
    /// LFBM_DATA_DIR, then the cache
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Classes of other images that are normal: 0-3,5-9; by default those of the fit, or good
    #[arg(long)]
    normal_classes: Option<String>,
    #[command(flatten)]
    changed: ChangedDataArg,
    #[command(flatten)]
    damaged: SkipDamagedArg,
    /// The report's folder; by default report/ in the bundle, and for other images than those of the fit
    /// a folder in it
    #[arg(long)]
    out: Option<PathBuf>,
    /// Precision of large matrix products: f32, or bf16 like a server with --precision bf16
    #[arg(long, default_value_t)]
    precision: Precision,
    /// Print the summary as JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Scores the test split of the fit, or other images, and reports how well anomalies are found.
///
/// # Errors
/// When the bundle or its data set cannot be read, or the report cannot be written.
pub fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let mut bundle = Bundle::open(&args.bundle)?;
    let manifest = bundle.manifest().clone();
    let own_report = bundle.dir().join("report");
    if args.out.is_none() {
        prepare_folder(bundle.dir())?;
    }
    prepare_folder(args.out.as_deref().unwrap_or(&own_report))?;
    let (dataset, parts, is_own) = test_images(args, &manifest)?;
    let report = match (&args.out, is_own) {
        (Some(out), _) => OutputFolder::prepare(out)?,
        (None, true) => OutputFolder::prepare(&own_report)?,
        (None, false) => OutputFolder::prepare(&own_report.join(set_name(args, &dataset)))?,
    };
    let runtime = Runtime::load(None)?;
    let options = SessionOptions {
        precision: args.precision,
        ..SessionOptions::default()
    };
    let mut inference = Inference::open(&runtime, bundle.dir(), &manifest, &options)?;
    eprintln!(
        "scoring {} images, {} of them anomalous",
        parts.test.len(),
        parts.anomalous.iter().filter(|&&anomaly| anomaly).count()
    );
    warn_of_leak(&dataset, &parts)?;
    let scores = score(&bundle, &mut inference, &dataset, &parts.test)?;
    let has_anomalies = parts.anomalous.contains(&true);
    let baseline = if has_anomalies {
        baseline(&dataset, &parts, free_bytes())?
    } else {
        None
    };

    let anomaly = |value: fn(&Scored) -> f64| -> Vec<f64> { scores.iter().map(value).collect() };
    // How well anomalies are found, only anomalies can tell.
    let mut values: Vec<_> = columns(&bundle)
        .filter(|_| has_anomalies)
        .map(|column| (column.name, column.title, anomaly(column.value)))
        .collect();
    if let Some(baseline) = &baseline {
        values.push((baseline.name, baseline.title, baseline.values.clone()));
    }
    let charts: Vec<_> = values
        .iter()
        .filter(|(name, ..)| CHARTED.contains(name))
        .map(|(_, title, values)| (*title, curves(values, &parts.anomalous)))
        .collect();
    let rows: Vec<_> = values
        .into_iter()
        .map(|(name, title, values)| (name, title, detection(&values, &parts.anomalous)))
        .collect();
    let verdict = has_anomalies.then(|| Verdict::of(&bundle, &dataset, &parts, &scores));
    let verdict = verdict.transpose()?;
    let summary = summary(
        &manifest,
        &dataset,
        &parts,
        &scores,
        &rows,
        verdict.as_ref(),
        args.precision,
    );
    let json = serde_json::to_string_pretty(&summary)?;
    // The figures are printed first, so that a full disk does not lose them; a closed output does not
    // prevent the report.
    let told = tell(args.json, &json, &rows, verdict.as_ref(), &summary);
    warn_of_false_alarms(&manifest, &parts, &scores);

    draw_charts(
        &report.file(""),
        &charts,
        &deciding(&manifest, &scores),
        &parts.anomalous,
    )?;
    draw_pictures(&report, &mut inference, &bundle, &dataset, &parts, &scores)?;
    report.write("evaluation.json", &format!("{json}\n"))?;
    let csv = scores_csv(&bundle, &dataset, &parts, &scores)?;
    report.write("scores.csv", &csv)?;
    let folder = report.folder().to_path_buf();
    report.publish()?;
    if args.out.is_none() && is_own {
        bundle.set_evaluation(summary.clone())?;
    }
    eprintln!("wrote {}", folder.display());
    Ok(told?)
}

/// The scores that make the verdict.
fn deciding(manifest: &Manifest, scores: &[Scored]) -> TestScores {
    let calibration = &manifest.calibration;
    let (title, value): (_, fn(&Scored) -> f64) = match calibration.decision {
        Decision::LogJoint => ("log joint", |scored| scored.score.log_joint),
        Decision::Local => ("local score", Scored::decisive),
        Decision::Sites => ("site score", Scored::decisive),
    };
    TestScores {
        title,
        values: scores.iter().map(value).collect(),
        threshold: calibration.deciding_threshold().unwrap_or(f64::NAN),
        is_high_anomalous: calibration.decision != Decision::LogJoint,
    }
}

/// Prints the summary, as JSON or as a table.
fn tell(
    as_json: bool,
    json: &str,
    rows: &[Row],
    verdict: Option<&Verdict>,
    summary: &serde_json::Value,
) -> io::Result<()> {
    if as_json {
        return print_line(json);
    }
    let share = |pointer: &str| summary.pointer(pointer).and_then(serde_json::Value::as_f64);
    let share = |pointer: &str| share(pointer).unwrap_or(f64::NAN);
    let Some(verdict) = verdict else {
        return print_line(format_args!(
            "at the default threshold {:.1} % of the normal images are called anomalous; how well anomalies \
             are found is not known, because the test has none: give them a folder of their own beside that \
             of the normal images",
            100.0 * share("/threshold/false_positive_rate"),
        ));
    };
    print_line(table(rows))?;
    for line in verdict.lines() {
        print_line(line)?;
    }
    print_line(format_args!(
        "chance (share of anomalies) {:.3}; at the default threshold {:.1} % of normal and {:.1} % of \
         anomalous images are called anomalous",
        share("/anomaly_share"),
        100.0 * share("/threshold/false_positive_rate"),
        100.0 * share("/threshold/true_positive_rate"),
    ))
}

/// The images to test, and whether they are the fit's test images.
fn test_images(args: &EvaluateArgs, manifest: &Manifest) -> anyhow::Result<(Dataset, Split, bool)> {
    let sought = Sought {
        name: args.dataset,
        data_dir: args.data_dir.as_deref(),
        damaged: args.damaged,
        normal_classes: args.normal_classes.as_deref(),
        ..Sought::default()
    };
    let Fitted {
        dataset,
        relation,
        classes,
        is_known,
    } = images_of(&args.bundle, manifest, &sought)?;
    if !is_known {
        warn_unknown();
    }
    let is_own = matches!(relation, Relation::Same(_));
    let split = match relation {
        Relation::Other { split, seen } => {
            let equal = dataset.len() - split.len() - seen;
            eprintln!(
                "these are other images than those of the fit: {} of {} are tested; left out are \
                 {seen} that the fit has seen and {equal} that are equal to others or in train",
                split.len(),
                dataset.len()
            );
            split
        }
        relation => split_of_the_fit(relation, args.changed)?,
    };
    check_normal(&dataset, &split, &classes)?;
    Ok((dataset, split, is_own))
}

/// Rejects a test without normal images, which false alarms and detection are measured with.
fn check_normal(dataset: &Dataset, split: &Split, classes: &ClassSelection) -> anyhow::Result<()> {
    let is_normal = |label: &&u32| classes.normal.contains(label);
    let normal = dataset.labels.iter().filter(is_normal).count();
    ensure!(
        normal > 0,
        "the test has no normal image, which it needs beside anomalous ones: of the classes {} none is called \
         normal; say which are with --normal-classes, or add normal images in a folder of their own",
        dataset.classes.join(", ")
    );
    ensure!(
        split.normal_test_count() > 0,
        "the test has no normal image that is new to the model: it has seen the {normal} that there are, or they \
         are equal to others or in train; add normal images that it has not seen, or name a folder of such with \
         --data-dir"
    );
    Ok(())
}

/// A name for a set of other images.
fn set_name(args: &EvaluateArgs, dataset: &Dataset) -> PathBuf {
    let folder = args.data_dir.as_deref().and_then(Path::file_name);
    folder.map_or_else(|| PathBuf::from(&dataset.name), PathBuf::from)
}

/// The simple detector for comparison, if its images are available, and `free` bytes of memory, where that is
/// known, have room for them.
fn baseline(
    dataset: &Dataset,
    parts: &Split,
    free: Option<u64>,
) -> anyhow::Result<Option<Baseline>> {
    let train = [&parts.train[..], &parts.calibration].concat();
    if train.is_empty() {
        return Ok(None);
    }
    let bytes = nearest_neighbour_bytes(train.len() + parts.test.len(), dataset.pixels());
    if let Some(free) = free.filter(|free| bytes > *free) {
        eprintln!(
            "nearest neighbours, for comparison, are left out of the report: they take {} MB of memory, and {} are \
             free",
            bytes >> 20,
            free >> 20
        );
        return Ok(None);
    }
    eprintln!("nearest neighbours, for comparison");
    let baseline = nearest_neighbour(
        &dataset.gather(&train),
        &dataset.gather(&parts.test),
        dataset.pixels(),
    );
    ensure!(
        baseline.values.len() == parts.test.len(),
        "a distance is missing"
    );
    Ok(Some(baseline))
}

/// Warns when more normal images are called anomalous than the calibration allows, beyond chance.
fn warn_of_false_alarms(manifest: &Manifest, parts: &Split, scores: &[Scored]) {
    let calibration = &manifest.calibration;
    let rate = calibration.false_positive_rate;
    let (called, tested) = flagged(manifest, parts, scores, false);
    let probability = guarantee::probability(called, tested, calibration.ranked(), rate);
    if probability < LEVEL {
        eprintln!(
            "{:.1} % of the {tested} normal images are called anomalous, where the calibration allows {:.1} %, and \
             chance makes as many in fewer than {:.0} of 100 tests (one-sided beta-binomial test): it was made on \
             images of another kind; calibrate on images of this one, see `trainer calibrate --help`",
            100.0 * called as f64 / tested as f64,
            100.0 * rate,
            100.0 * LEVEL
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::strokes;

    #[test]
    fn a_comparison_that_memory_has_no_room_for_is_left_out() {
        let dataset = strokes::dataset(60, 3);
        let parts = Split::new(
            (0..40).collect(),
            Vec::new(),
            (40..60).collect(),
            Vec::new(),
        );
        let bytes = nearest_neighbour_bytes(60, dataset.pixels());
        let baseline = |free| baseline(&dataset, &parts, free).unwrap().is_some();
        assert!(baseline(None) && baseline(Some(bytes)));
        assert!(!baseline(Some(bytes - 1)));
    }
}
