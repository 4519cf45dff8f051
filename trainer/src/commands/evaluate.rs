//! `trainer evaluate`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::ProgressBar;
use lfbm_bundle::inference::{Inference, SCORE_SEED, Score};
use lfbm_bundle::manifest::Manifest;
use lfbm_bundle::runtime::{Runtime, SessionOptions};
use lfbm_bundle::store::Bundle;
use serde::Deserialize;
use serde_json::json;

use crate::data::{ClassSelection, DataArgs, Dataset, DatasetName, Split, split};
use crate::evaluate::{
    Detection, curves, detection, draw_charts, draw_reconstructions, draw_samples,
    nearest_neighbour_distances,
};

const SAMPLES: usize = 64;
const SAMPLE_COLUMNS: usize = 16;
/// Normal images, and as many anomalous ones.
const RECONSTRUCTIONS: usize = 8;

/// Arguments of `trainer evaluate`.
#[derive(Args, Clone, Debug)]
pub struct EvaluateArgs {
    /// The bundle
    bundle: PathBuf,
    /// The data set; without it, the one that was fitted
    #[arg(long, value_enum)]
    dataset: Option<DatasetName>,
    /// The folder of its files; without it LFBM_DATA_DIR, then the cache
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Where the report goes; without it, the folder report in the bundle
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the summary as JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// What a fit writes into the manifest that finds its split again.
#[derive(Deserialize)]
struct Training {
    split_seed: u64,
    calibration_count: usize,
    data: DataArgs,
}

/// Scores the test split of the fit and reports how well anomalies are found.
///
/// # Errors
/// When the bundle or its data set cannot be read, or the report cannot be written.
pub fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let mut bundle = Bundle::open(&args.bundle)?;
    let manifest = bundle.manifest().clone();
    let (dataset, parts) = test_split(args, &manifest)?;
    let runtime = Runtime::load(None)?;
    let options = SessionOptions::default();
    let mut inference = Inference::open(&runtime, bundle.dir(), &manifest, &options)?;
    eprintln!(
        "scoring {} images, {} of them anomalous",
        parts.test.len(),
        parts.anomalous.iter().filter(|&&anomaly| anomaly).count()
    );
    let images = dataset.gather(&parts.test);
    let bar = ProgressBar::new(parts.test.len() as u64);
    let scores = inference.score(&images, &manifest.langevin, SCORE_SEED, &mut |done| {
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let finite = scores.iter().all(|score| score.log_joint.is_finite());
    ensure!(
        finite,
        "some chains diverged; fit with a smaller inference.step_size"
    );

    eprintln!("nearest neighbours, for comparison");
    let train = [&parts.train[..], &parts.calibration].concat();
    let distances = nearest_neighbour_distances(&dataset.gather(&train), &images, dataset.pixels());
    ensure!(distances.len() == scores.len(), "a distance is missing");

    let anomaly =
        |part: fn(&Score) -> f64| -> Vec<f64> { scores.iter().map(|s| -part(s)).collect() };
    let joint = anomaly(|score| score.log_joint);
    let rows = [
        ("log_joint", joint.clone()),
        ("log_prior", anomaly(|score| score.log_prior)),
        ("log_likelihood", anomaly(|score| score.log_likelihood)),
        ("nearest_neighbour", distances.clone()),
    ]
    .map(|(name, values)| (name, detection(&values, &parts.anomalous)));
    let summary = summary(&manifest, &parts, &scores, &rows);

    let report = args
        .out
        .clone()
        .unwrap_or_else(|| bundle.dir().join("report"));
    fs::create_dir_all(&report).with_context(|| report.display().to_string())?;
    let log_joint: Vec<f64> = scores.iter().map(|score| score.log_joint).collect();
    draw_charts(
        &report,
        &curves(&joint, &parts.anomalous),
        &curves(&distances, &parts.anomalous),
        &log_joint,
        &parts.anomalous,
        manifest.calibration.threshold_log_joint,
    )?;
    draw_pictures(&report, &mut inference, &manifest, &images, &parts, &scores)?;
    write(
        &report.join("evaluation.json"),
        &format!("{}\n", serde_json::to_string_pretty(&summary)?),
    )?;
    write(
        &report.join("scores.csv"),
        &scores_csv(&bundle, &dataset, &parts, &scores)?,
    )?;
    if args.out.is_none() {
        bundle.set_evaluation(summary.clone())?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        println!("{}", table(&rows));
        println!(
            "chance (share of anomalies) {:.3}; at the default threshold {:.1} % of normal and \
             {:.1} % of anomalous images are called anomalous",
            summary["anomaly_share"].as_f64().unwrap_or(f64::NAN),
            100.0 * flagged(&manifest, &parts, &scores, false),
            100.0 * flagged(&manifest, &parts, &scores, true),
        );
    }
    eprintln!("wrote {}", report.display());
    Ok(())
}

fn test_split(args: &EvaluateArgs, manifest: &Manifest) -> anyhow::Result<(Dataset, Split)> {
    let Training {
        split_seed,
        calibration_count,
        mut data,
    } = Training::deserialize(&manifest.training)
        .context("the bundle does not say how it was fitted, so its test images are not known")?;
    data.data_dir.clone_from(&args.data_dir);
    if let Some(dataset) = args.dataset {
        data.dataset = dataset;
    }
    let dataset = data.load()?;
    let spec = &manifest.image;
    ensure!(
        (dataset.channels, dataset.height, dataset.width)
            == (spec.channels, spec.height, spec.width),
        "the bundle scores images of {} x {} x {} (C, H, W), the data set has {} x {} x {}",
        spec.channels,
        spec.height,
        spec.width,
        dataset.channels,
        dataset.height,
        dataset.width
    );
    let classes = ClassSelection::of_names(&dataset.classes, &manifest.classes.normal)?;
    let parts = split(&dataset, &classes, split_seed, calibration_count)?;
    ensure!(
        parts.anomalous.contains(&true) && parts.anomalous.contains(&false),
        "the test has images of one kind only; fit with a class held out to evaluate"
    );
    Ok((dataset, parts))
}

/// The share of normal or of anomalous images that the threshold calls anomalous.
fn flagged(manifest: &Manifest, parts: &Split, scores: &[Score], anomalous: bool) -> f64 {
    let of: Vec<_> = scores
        .iter()
        .zip(&parts.anomalous)
        .filter(|(_, anomaly)| **anomaly == anomalous)
        .collect();
    let threshold = manifest.calibration.threshold_log_joint;
    let below = of.iter().filter(|(score, _)| score.log_joint < threshold);
    below.count() as f64 / of.len() as f64
}

fn summary(
    manifest: &Manifest,
    parts: &Split,
    scores: &[Score],
    rows: &[(&str, Detection)],
) -> serde_json::Value {
    let anomalies = parts.anomalous.iter().filter(|&&anomaly| anomaly).count();
    let metrics: serde_json::Map<_, _> = rows
        .iter()
        .map(|(name, metrics)| ((*name).to_owned(), json!(metrics)))
        .collect();
    json!({
        "images": parts.test.len(),
        "anomaly_share": anomalies as f64 / parts.test.len() as f64,
        "seed": SCORE_SEED,
        "inference": manifest.langevin,
        "metrics": metrics,
        "threshold": {
            "log_joint": manifest.calibration.threshold_log_joint,
            "false_positive_rate": flagged(manifest, parts, scores, false),
            "true_positive_rate": flagged(manifest, parts, scores, true),
        },
    })
}

fn table(rows: &[(&str, Detection)]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["score", "AUPRC", "AUROC", "FPR at 95 % TPR"]);
    for (name, metrics) in rows {
        let name = match *name {
            "log_joint" => "log joint",
            "log_prior" => "log p(z)",
            "log_likelihood" => "log p(x|z)",
            _ => "1-NN, unit norm, PCA-50",
        };
        table.add_row([
            name.to_owned(),
            format!("{:.4}", metrics.auprc),
            format!("{:.4}", metrics.auroc),
            format!("{:.4}", metrics.fpr_at_95_tpr),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn scores_csv(
    bundle: &Bundle,
    dataset: &Dataset,
    parts: &Split,
    scores: &[Score],
) -> anyhow::Result<String> {
    let mut text =
        String::from("index,class,anomalous,log_joint,log_prior,log_likelihood,p_value\n");
    for ((index, anomalous), score) in parts.test.iter().zip(&parts.anomalous).zip(scores) {
        writeln!(
            text,
            "{index},{},{},{},{},{},{}",
            dataset.classes[dataset.labels[*index] as usize],
            u8::from(*anomalous),
            score.log_joint,
            score.log_prior,
            score.log_likelihood,
            bundle.calibration().p_value(score.log_joint)
        )?;
    }
    Ok(text)
}

fn draw_pictures(
    report: &Path,
    inference: &mut Inference,
    manifest: &Manifest,
    images: &[f32],
    parts: &Split,
    scores: &[Score],
) -> anyhow::Result<()> {
    let spec = &manifest.image;
    let samples = inference.sample_prior(SAMPLES, SCORE_SEED)?;
    draw_samples(&report.join("samples.png"), spec, &samples, SAMPLE_COLUMNS)?;
    let of = |anomalous: bool| {
        let indices = 0..parts.test.len();
        indices
            .filter(move |&index| parts.anomalous[index] == anomalous)
            .take(RECONSTRUCTIONS)
    };
    let chosen: Vec<usize> = of(false).chain(of(true)).collect();
    let shown: Vec<f32> = chosen
        .iter()
        .flat_map(|&index| &images[index * spec.pixels()..][..spec.pixels()])
        .copied()
        .collect();
    let z: Vec<f32> = chosen
        .iter()
        .flat_map(|&index| scores[index].z.iter().copied())
        .collect();
    let x = inference.preprocess(&shown)?;
    let reconstructed = inference.reconstruct(&z)?;
    draw_reconstructions(
        &report.join("reconstructions.png"),
        spec,
        &x,
        &reconstructed,
    )
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}
