//! How well the score that makes the verdict finds anomalies, and how well a map finds the place.

use std::collections::BTreeMap;

use lfbm_bundle::Bundle;
use serde::Serialize;

use super::scored::Scored;
use crate::data::{Dataset, Split};
use crate::evaluate::{
    Detection, MeasuredMap, PixelDetection, curves, detection, detection_by_class, enlarged,
    f1_max, pixel_detection,
};

/// How well the score that makes the verdict finds anomalies.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Verdict {
    /// Which score it is.
    score: &'static str,
    image_auroc: f64,
    image_auprc: f64,
    image_f1_max: f64,
    image_fpr_at_95_tpr: f64,
    /// Of the maps; null without sites, or without a true mask.
    pixel_auroc: Option<f64>,
    pixel_aupro: Option<f64>,
    pixel_f1_max: Option<f64>,
    /// Of each class of anomalies, where there are several.
    by_class: BTreeMap<String, Detection>,
}

impl Verdict {
    /// Of test images and their scores.
    ///
    /// # Errors
    /// When a mask does not fit its image.
    pub(super) fn of(
        bundle: &Bundle,
        dataset: &Dataset,
        parts: &Split,
        scores: &[Scored],
    ) -> anyhow::Result<Self> {
        let decision = bundle.manifest().calibration.decision;
        let values: Vec<f64> = scores
            .iter()
            .map(|scored| scored.verdict_score(decision))
            .collect();
        let found = detection(&values, &parts.anomalous);
        let classes: Vec<&str> = parts
            .test
            .iter()
            .map(|&index| dataset.class(index))
            .collect();
        let mut by_class = detection_by_class(&values, &parts.anomalous, &classes);
        if by_class.len() < 2 {
            by_class.clear();
        }
        let pixels = pixels(bundle, dataset, parts, scores)?;
        Ok(Self {
            score: decision.as_str(),
            image_auroc: found.auroc,
            image_auprc: found.auprc,
            image_f1_max: f1_max(&curves(&values, &parts.anomalous)),
            image_fpr_at_95_tpr: found.fpr_at_95_tpr,
            pixel_auroc: pixels.map(|pixels| pixels.auroc),
            pixel_aupro: pixels.map(|pixels| pixels.aupro),
            pixel_f1_max: pixels.map(|pixels| pixels.f1_max),
            by_class,
        })
    }

    /// What a table of the scores does not say.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "verdict by {}: image AUROC {:.4}, AUPRC {:.4}, F1-max {:.4}",
            self.score, self.image_auroc, self.image_auprc, self.image_f1_max
        )];
        if let (Some(auroc), Some(aupro)) = (self.pixel_auroc, self.pixel_aupro) {
            lines.push(format!(
                "place of the fault: pixel AUROC {auroc:.4}, AUPRO at 0.3 {aupro:.4}"
            ));
        }
        let classes = self.by_class.iter();
        lines.extend(
            classes.map(|(class, found)| format!("{class}: image AUROC {:.4}", found.auroc)),
        );
        lines
    }
}

/// How well the maps find faulty pixels; `None` without maps or masks. Normal images count as free of
/// faults, faulty ones whose mask is not known do not count.
fn pixels(
    bundle: &Bundle,
    dataset: &Dataset,
    parts: &Split,
    scores: &[Scored],
) -> anyhow::Result<Option<PixelDetection>> {
    let Some(sites) = bundle.calibration().sites() else {
        return Ok(None);
    };
    let grid = sites.scorer().grid();
    let images = parts.test.iter().zip(&parts.anomalous).zip(scores);
    let known: Vec<(Vec<f32>, &[u8])> = images
        .filter_map(|((&index, anomalous), scored)| {
            let mask = match (anomalous, dataset.fault_mask(index)) {
                (false, _) => &[],
                (true, mask) => mask?,
            };
            let map = enlarged(scored.map()?, grid, dataset.height, dataset.width);
            Some((map, mask))
        })
        .collect();
    let maps: Vec<MeasuredMap<'_>> = known
        .iter()
        .map(|(map, mask)| MeasuredMap::new(map, mask, dataset.width))
        .collect::<Result<_, _>>()?;
    Ok(pixel_detection(&maps))
}
