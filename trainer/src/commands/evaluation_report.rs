//! The report of `trainer evaluate`: a summary, a score per image, and pictures.

use std::fmt::Write;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::Manifest;
use lfbm_detector::{Comparison, Score};
use lfbm_model::pixels;
use lfbm_runtime::{Inference, Precision, SCORE_SEED};
use serde_json::json;

use super::guarantee;
use super::scored::{Scored, columns};
use super::verdict::Verdict;
use crate::data::{Dataset, Split};
use crate::evaluate::{Detection, MappedImage, draw_maps, draw_reconstructions, draw_samples};
use crate::output::OutputFolder;

const SAMPLES: usize = 64;
const SAMPLE_COLUMNS: usize = 16;
/// The number of normal images, and of anomalous ones.
const EXAMPLES: usize = 8;
/// Columns that every report has.
const DENSITIES: [&str; 3] = ["log_joint", "log_prior", "log_likelihood"];

/// How many normal or anomalous images have the verdict anomalous, and of how many.
pub(super) fn flagged(
    manifest: &Manifest,
    parts: &Split,
    scores: &[Scored],
    anomalous: bool,
) -> (usize, usize) {
    let of: Vec<_> = scores
        .iter()
        .zip(&parts.anomalous)
        .filter(|(_, anomaly)| **anomaly == anomalous)
        .collect();
    let calibration = &manifest.calibration;
    let called = |scored: &Scored| calibration.anomalous(scored.score.log_joint, scored.decisive());
    let called = of.iter().filter(|(scored, _)| called(scored)).count();
    (called, of.len())
}

/// The summary of a report; of a test without anomalies it has no metrics and no verdict.
pub(super) fn summary(
    manifest: &Manifest,
    dataset: &Dataset,
    parts: &Split,
    scores: &[Scored],
    rows: &[Row],
    verdict: Option<&Verdict>,
    precision: Precision,
) -> serde_json::Value {
    let anomalies = parts.anomalous.iter().filter(|&&anomaly| anomaly).count();
    let has_mask =
        |(index, anomaly): &(&usize, &bool)| **anomaly && dataset.fault_mask(**index).is_some();
    let masks = parts.test.iter().zip(&parts.anomalous).filter(has_mask);
    let share = |anomalous: bool| {
        let (called, of) = flagged(manifest, parts, scores, anomalous);
        called as f64 / of as f64
    };
    let metrics: serde_json::Map<_, _> = rows
        .iter()
        .map(|(name, _, metrics)| ((*name).to_owned(), json!(metrics)))
        .collect();
    json!({
        "images": parts.test.len(),
        "masks": masks.count(),
        "anomaly_share": anomalies as f64 / parts.test.len() as f64,
        "seed": SCORE_SEED,
        "inference": manifest.langevin,
        "precision": precision.to_string(),
        "representation": manifest.representation,
        "metrics": metrics,
        "verdict": verdict,
        "calibration": guarantee::json(manifest),
        "threshold": {
            "decision": manifest.calibration.decision,
            "log_joint": manifest.calibration.threshold_log_joint,
            "local_score": manifest.calibration.threshold_local_score,
            "site_score": manifest.calibration.threshold_site_score,
            "map": manifest.calibration.map_threshold,
            "false_positive_rate": share(false),
            "true_positive_rate": share(true),
        },
    })
}

/// A score's name in files, its name in tables, and its metrics.
pub(crate) type Row = (&'static str, &'static str, Detection);

pub(crate) fn table(rows: &[Row]) -> Table {
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

/// One line an image. The p-value is that of the score that makes the verdict.
pub(super) fn scores_csv(
    bundle: &Bundle,
    dataset: &Dataset,
    parts: &Split,
    scores: &[Scored],
) -> anyhow::Result<String> {
    let calibration = bundle.calibration();
    let columns: Vec<_> = columns(bundle).collect();
    let (decisive, compared) = match calibration.comparison() {
        Comparison::Local(_) => ("local_score", "local_p_value"),
        Comparison::Sites(_) => ("site_score", "site_p_value"),
    };
    let others = || {
        columns
            .iter()
            .filter(|column| !DENSITIES.contains(&column.name))
    };
    let others = || others().filter(|column| column.name != decisive);
    let mut text = format!("index,class,anomalous,{},p_value", DENSITIES.join(","));
    for column in others() {
        write!(text, ",{}", column.name)?;
    }
    writeln!(text, ",{decisive},{compared},file")?;
    for ((index, anomalous), scored) in parts.test.iter().zip(&parts.anomalous).zip(scores) {
        let Score {
            log_joint,
            log_prior,
            log_likelihood,
            ..
        } = scored.score;
        write!(
            text,
            "{index},{},{},{log_joint},{log_prior},{log_likelihood},{}",
            field(dataset.class(*index)),
            u8::from(*anomalous),
            calibration.p_value(log_joint),
        )?;
        for column in others() {
            write!(text, ",{}", (column.value)(scored))?;
        }
        let score = scored.decisive();
        let p_value = match calibration.comparison() {
            Comparison::Local(local) => local.p_value(score),
            Comparison::Sites(sites) => sites.p_value(score),
        };
        let file = dataset.files.get(*index).map_or("", String::as_str);
        writeln!(text, ",{score},{p_value},{}", field(file))?;
    }
    Ok(text)
}

/// A text as a field of CSV (RFC 4180).
fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Draws samples, and images with what the model makes of them: some of each kind, the worst false alarms and
/// the worst misses.
pub(super) fn draw_pictures(
    report: &OutputFolder,
    inference: &mut Inference,
    bundle: &Bundle,
    dataset: &Dataset,
    parts: &Split,
    scores: &[Scored],
) -> anyhow::Result<()> {
    let manifest = bundle.manifest();
    let is_whole = manifest.representation.is_whole_image();
    let makes_pixels = is_whole || manifest.has_decoder();
    if is_whole && manifest.has_prior_graph() {
        let samples = inference.sample_prior(SAMPLES, SCORE_SEED)?;
        let path = report.file("samples.png");
        draw_samples(&path, &manifest.image, &samples, SAMPLE_COLUMNS)?;
    }
    let of = |anomalous: bool| -> Vec<usize> {
        let indices = 0..parts.test.len();
        indices
            .filter(|&index| parts.anomalous[index] == anomalous)
            .collect()
    };
    let (mut normal, mut anomalous) = (of(false), of(true));
    let first = |indices: &[usize]| indices[..EXAMPLES.min(indices.len())].to_vec();
    let examples = [first(&normal), first(&anomalous)].concat();
    let by_score = |&a: &usize, &b: &usize| scores[a].decisive().total_cmp(&scores[b].decisive());
    normal.sort_by(|a, b| by_score(b, a));
    anomalous.sort_by(by_score);
    let worst = |mut indices: Vec<usize>| {
        indices.truncate(2 * EXAMPLES);
        indices
    };
    let examples_file = if makes_pixels {
        "reconstructions.png"
    } else {
        "maps.png"
    };
    for (name, chosen) in [
        (examples_file, examples),
        ("false_alarms.png", worst(normal)),
        ("misses.png", worst(anomalous)),
    ] {
        if chosen.is_empty() {
            continue;
        }
        let indices: Vec<usize> = chosen.iter().map(|&index| parts.test[index]).collect();
        let images = dataset.gather(&indices);
        let of_chosen: Vec<&Scored> = chosen.iter().map(|&index| &scores[index]).collect();
        let path = report.file(name);
        let sites = match bundle.calibration().comparison() {
            Comparison::Sites(sites) if !makes_pixels => sites,
            _ => {
                draw_whole(&path, inference, &images, &of_chosen)?;
                continue;
            }
        };
        let pixels = manifest.image.pixels();
        let shown = images.chunks(pixels).zip(&of_chosen).zip(&indices);
        let shown: Vec<_> = shown
            .filter_map(|((image, scored), &index)| {
                Some(MappedImage {
                    image,
                    map: scored.map()?,
                    mask: dataset.fault_mask(index),
                })
            })
            .collect();
        let threshold = manifest.calibration.map_threshold.unwrap_or(f64::NAN);
        let grid = sites.scorer().grid();
        draw_maps(&path, &manifest.image, grid, threshold, &shown)?;
    }
    Ok(())
}

fn draw_whole(
    path: &Path,
    inference: &mut Inference,
    images: &[f32],
    scores: &[&Scored],
) -> anyhow::Result<()> {
    let z: Vec<f32> = scores
        .iter()
        .flat_map(|scored| scored.score.z.iter().copied())
        .collect();
    let spec = *inference.image();
    let x = if inference.has_decoder() {
        pixels::in_range(images, &spec)
    } else {
        inference.preprocess(images)?
    };
    let reconstructed = inference.reconstruct(&z)?;
    draw_reconstructions(path, &spec, &x, &reconstructed)
}
