//! The report of `trainer evaluate`: a summary, a score per image, and pictures.

use std::fmt::Write;

use comfy_table::{CellAlignment, Table, presets};
use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::Manifest;
use lfbm_detector::{Parts, Score};
use lfbm_runtime::{Inference, Precision, SCORE_SEED};
use serde_json::json;

use crate::data::{Dataset, Split};
use crate::evaluate::{Detection, draw_reconstructions, draw_samples};
use crate::output::OutputFolder;

const SAMPLES: usize = 64;
const SAMPLE_COLUMNS: usize = 16;
/// The number of normal images, and of anomalous ones.
const RECONSTRUCTIONS: usize = 8;

/// The scores of a test image.
pub(super) struct Scored {
    pub(super) score: Score,
    pub(super) parts: Parts,
    pub(super) local_score: f64,
}

/// The fraction of normal or of anomalous images with the verdict anomalous.
pub(super) fn flagged(
    manifest: &Manifest,
    parts: &Split,
    scores: &[Scored],
    anomalous: bool,
) -> f64 {
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

pub(super) fn summary(
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

pub(super) fn scores_csv(
    bundle: &Bundle,
    dataset: &Dataset,
    parts: &Split,
    scores: &[Scored],
) -> anyhow::Result<String> {
    let mut text = String::from(
        "index,class,anomalous,log_joint,log_prior,log_likelihood,p_value,nearest_distance,\
         nearest_edge_distance,relative_edge_distance,local_score,local_p_value,file\n",
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
            "{index},{},{},{},{},{},{},{},{},{},{local_score},{},{}",
            field(&dataset.classes[dataset.labels[*index] as usize]),
            u8::from(*anomalous),
            score.log_joint,
            score.log_prior,
            score.log_likelihood,
            calibration.p_value(score.log_joint),
            parts.pixels.nearest,
            parts.edges.nearest,
            parts.edges.relative,
            calibration.local().p_value(*local_score),
            field(dataset.files.get(*index).map_or("", String::as_str)),
        )?;
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

pub(super) fn draw_pictures(
    report: &OutputFolder,
    inference: &mut Inference,
    manifest: &Manifest,
    images: &[f32],
    parts: &Split,
    scores: &[Scored],
) -> anyhow::Result<()> {
    let spec = &manifest.image;
    if manifest.has_prior_graph() {
        let samples = inference.sample_prior(SAMPLES, SCORE_SEED)?;
        draw_samples(&report.file("samples.png"), spec, &samples, SAMPLE_COLUMNS)?;
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
        draw_reconstructions(&report.file(name), spec, &x, &reconstructed)?;
    }
    Ok(())
}
