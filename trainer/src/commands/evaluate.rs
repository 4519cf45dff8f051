//! `trainer evaluate`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::ProgressBar;
use lfbm_bundle::console::print_line;
use lfbm_bundle::inference::{Inference, SCORE_SEED, Score};
use lfbm_bundle::local::Parts;
use lfbm_bundle::manifest::{ImageSpec, Manifest};
use lfbm_bundle::runtime::{Precision, Runtime, SessionOptions};
use lfbm_bundle::store::Bundle;
use serde::Deserialize;
use serde_json::json;

use crate::data::{ClassSelection, DataArgs, Dataset, DatasetName, Split, split};
use crate::evaluate::{
    Detection, curves, detection, draw_charts, draw_reconstructions, draw_samples,
    nearest_neighbour,
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
    /// How exactly large matrix products are computed: f32, or bf16 as a server with --precision bf16
    #[arg(long, default_value_t)]
    precision: Precision,
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

/// What a test image got.
struct Scored {
    score: Score,
    parts: Parts,
    local_score: f64,
}

/// Scores the test split of the fit and reports how well anomalies are found.
///
/// # Errors
/// When the bundle or its data set cannot be read, or the report cannot be written.
pub fn run(args: &EvaluateArgs) -> anyhow::Result<()> {
    let mut bundle = Bundle::open(&args.bundle)?;
    let manifest = bundle.manifest().clone();
    let (dataset, parts) = test_split(&manifest, args.dataset, args.data_dir.as_deref())?;
    ensure!(
        parts.anomalous.contains(&true) && parts.anomalous.contains(&false),
        "the test has images of one kind only; fit with a class held out to evaluate"
    );
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
    let images = dataset.gather(&parts.test);
    let scores = score(&bundle, &mut inference, &images)?;

    eprintln!("nearest neighbours, for comparison");
    let train = [&parts.train[..], &parts.calibration].concat();
    let baseline = nearest_neighbour(&dataset.gather(&train), &images, dataset.pixels());
    ensure!(
        baseline.values.len() == scores.len(),
        "a distance is missing"
    );

    let anomaly = |part: fn(&Scored) -> f64| -> Vec<f64> { scores.iter().map(part).collect() };
    let local = anomaly(|scored| scored.local_score);
    let joint = anomaly(|scored| -scored.score.log_joint);
    let rows = [
        ("local_score", "local score", local.clone()),
        ("log_joint", "log joint", joint.clone()),
        (
            "log_prior",
            "log p(z)",
            anomaly(|scored| -scored.score.log_prior),
        ),
        (
            "log_likelihood",
            "log p(x|z)",
            anomaly(|scored| -scored.score.log_likelihood),
        ),
        (
            "nearest_distance",
            "distance to the nearest normal image",
            anomaly(|scored| scored.parts.pixels.nearest),
        ),
        (
            "nearest_edge_distance",
            "distance to the nearest edge map",
            anomaly(|scored| scored.parts.edges.nearest),
        ),
        (
            "relative_edge_distance",
            "distance to the 10 nearest edge maps over their own",
            anomaly(|scored| scored.parts.edges.relative),
        ),
        (baseline.name, baseline.title, baseline.values.clone()),
    ]
    .map(|(name, title, values)| (name, title, detection(&values, &parts.anomalous)));
    let summary = summary(&manifest, &parts, &scores, &rows, args.precision);

    let report = args
        .out
        .clone()
        .unwrap_or_else(|| bundle.dir().join("report"));
    fs::create_dir_all(&report).with_context(|| report.display().to_string())?;
    let log_joint: Vec<f64> = joint.iter().map(|value| -value).collect();
    let curves = |values: &[f64]| curves(values, &parts.anomalous);
    draw_charts(
        &report,
        &[
            ("local score", curves(&local)),
            ("log joint", curves(&joint)),
            ("1-NN, PCA-50", curves(&baseline.values)),
        ],
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
        print_line(serde_json::to_string_pretty(&summary)?)?;
    } else {
        print_line(table(&rows))?;
        print_line(format_args!(
            "chance (share of anomalies) {:.3}; at the default threshold {:.1} % of normal and \
             {:.1} % of anomalous images are called anomalous",
            summary["anomaly_share"].as_f64().unwrap_or(f64::NAN),
            100.0 * flagged(&manifest, &parts, &scores, false),
            100.0 * flagged(&manifest, &parts, &scores, true),
        ))?;
    }
    eprintln!("wrote {}", report.display());
    Ok(())
}

fn score(
    bundle: &Bundle,
    inference: &mut Inference,
    images: &[f32],
) -> anyhow::Result<Vec<Scored>> {
    let pixels = bundle.manifest().image.pixels();
    let bar = ProgressBar::new((images.len() / pixels) as u64);
    let langevin = &bundle.manifest().langevin;
    let scores = inference.score(images, langevin, SCORE_SEED, &mut |done| {
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    ensure!(
        scores.iter().all(|score| score.log_joint.is_finite()),
        "some chains diverged; fit with a smaller inference.step_size"
    );
    let local = bundle.calibration().local();
    let x = inference.preprocess(images)?;
    Ok(scores
        .into_iter()
        .zip(x.chunks(pixels))
        .map(|(score, x)| {
            let parts = local.parts(x, score.log_joint);
            Scored {
                local_score: local.score(&parts),
                parts,
                score,
            }
        })
        .collect())
}

/// The data set of a fit and its split.
pub(super) fn test_split(
    manifest: &Manifest,
    name: Option<DatasetName>,
    data_dir: Option<&Path>,
) -> anyhow::Result<(Dataset, Split)> {
    let Training {
        split_seed,
        calibration_count,
        mut data,
    } = Training::deserialize(&manifest.training)
        .context("the bundle does not say how it was fitted, so its split is not known")?;
    data.data_dir = data_dir.map(Path::to_path_buf);
    if let Some(name) = name {
        data.dataset = name;
    }
    let dataset = data.load()?;
    check_size(&manifest.image, &dataset)?;
    let classes = ClassSelection::of_names(&dataset.classes, &manifest.classes.normal)?;
    let parts = split(&dataset, &classes, split_seed, calibration_count)?;
    Ok((dataset, parts))
}

/// Whether a model for such images can score the data set's.
pub(super) fn check_size(spec: &ImageSpec, dataset: &Dataset) -> anyhow::Result<()> {
    ensure!(
        (dataset.channels, dataset.height, dataset.width)
            == (spec.channels, spec.height, spec.width),
        "the model is for images of {} x {} x {} (C, H, W), the data set has {} x {} x {}",
        spec.channels,
        spec.height,
        spec.width,
        dataset.channels,
        dataset.height,
        dataset.width
    );
    Ok(())
}

/// The share of normal or of anomalous images that the verdict calls anomalous.
fn flagged(manifest: &Manifest, parts: &Split, scores: &[Scored], anomalous: bool) -> f64 {
    let of: Vec<_> = scores
        .iter()
        .zip(&parts.anomalous)
        .filter(|(_, anomaly)| **anomaly == anomalous)
        .collect();
    let calibration = &manifest.calibration;
    let called =
        |scored: &Scored| calibration.anomalous(scored.score.log_joint, scored.local_score);
    of.iter().filter(|(scored, _)| called(scored)).count() as f64 / of.len() as f64
}

fn summary(
    manifest: &Manifest,
    parts: &Split,
    scores: &[Scored],
    rows: &[Row],
    precision: Precision,
) -> serde_json::Value {
    let anomalies = parts.anomalous.iter().filter(|&&anomaly| anomaly).count();
    let metrics: serde_json::Map<_, _> = rows
        .iter()
        .map(|(name, _, metrics)| ((*name).to_owned(), json!(metrics)))
        .collect();
    json!({
        "images": parts.test.len(),
        "anomaly_share": anomalies as f64 / parts.test.len() as f64,
        "seed": SCORE_SEED,
        "inference": manifest.langevin,
        "precision": precision.to_string(),
        "metrics": metrics,
        "threshold": {
            "decision": manifest.calibration.decision,
            "log_joint": manifest.calibration.threshold_log_joint,
            "local_score": manifest.calibration.threshold_local_score,
            "false_positive_rate": flagged(manifest, parts, scores, false),
            "true_positive_rate": flagged(manifest, parts, scores, true),
        },
    })
}

/// A score's name in files, its name for people, and what it is worth.
pub(super) type Row = (&'static str, &'static str, Detection);

pub(super) fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["score", "AUPRC", "AUROC", "FPR at 95 % TPR"]);
    for (_, title, metrics) in rows {
        table.add_row([
            (*title).to_owned(),
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
    scores: &[Scored],
) -> anyhow::Result<String> {
    let mut text = String::from(
        "index,class,anomalous,log_joint,log_prior,log_likelihood,p_value,nearest_distance,\
         nearest_edge_distance,relative_edge_distance,local_score,local_p_value\n",
    );
    let calibration = bundle.calibration();
    for ((index, anomalous), scored) in parts.test.iter().zip(&parts.anomalous).zip(scores) {
        let Scored {
            score,
            parts,
            local_score,
        } = scored;
        writeln!(
            text,
            "{index},{},{},{},{},{},{},{},{},{},{local_score},{}",
            dataset.classes[dataset.labels[*index] as usize],
            u8::from(*anomalous),
            score.log_joint,
            score.log_prior,
            score.log_likelihood,
            calibration.p_value(score.log_joint),
            parts.pixels.nearest,
            parts.edges.nearest,
            parts.edges.relative,
            calibration.local().p_value(*local_score),
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
    scores: &[Scored],
) -> anyhow::Result<()> {
    let spec = &manifest.image;
    if manifest.has_prior_graph() {
        let samples = inference.sample_prior(SAMPLES, SCORE_SEED)?;
        draw_samples(&report.join("samples.png"), spec, &samples, SAMPLE_COLUMNS)?;
    }
    let of = |anomalous: bool| -> Vec<usize> {
        let indices = 0..parts.test.len();
        indices
            .filter(|&index| parts.anomalous[index] == anomalous)
            .collect()
    };
    let (mut normal, mut anomalous) = (of(false), of(true));
    let first = |indices: &[usize]| indices[..RECONSTRUCTIONS.min(indices.len())].to_vec();
    let examples = [first(&normal), first(&anomalous)].concat();
    let by_score = |&a: &usize, &b: &usize| scores[a].local_score.total_cmp(&scores[b].local_score);
    normal.sort_by(|a, b| by_score(b, a));
    anomalous.sort_by(by_score);
    let worst = |mut indices: Vec<usize>| {
        indices.truncate(2 * RECONSTRUCTIONS);
        indices
    };
    for (name, chosen) in [
        ("reconstructions.png", examples),
        ("false_alarms.png", worst(normal)),
        ("misses.png", worst(anomalous)),
    ] {
        let shown: Vec<f32> = chosen
            .iter()
            .flat_map(|&index| &images[index * spec.pixels()..][..spec.pixels()])
            .copied()
            .collect();
        let z: Vec<f32> = chosen
            .iter()
            .flat_map(|&index| scores[index].score.z.iter().copied())
            .collect();
        let x = inference.preprocess(&shown)?;
        let reconstructed = inference.reconstruct(&z)?;
        draw_reconstructions(&report.join(name), spec, &x, &reconstructed)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}
