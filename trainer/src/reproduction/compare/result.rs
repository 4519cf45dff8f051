//! What is known of a fit.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::costs::Costs;
use super::plan::{Comparison, Fit};
use crate::data::Mask;
use crate::reproduction::kept::Kept;

/// The results of one fit: a line of the results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitResult {
    /// The data set.
    pub dataset: String,
    /// The class that was held out.
    pub holdout: String,
    /// The model.
    pub model: String,
    /// The seed.
    pub seed: u64,
    /// What hid pixels; `None` for whole images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<Mask>,
    /// What `trainer fit --set` was given.
    pub changes: Vec<String>,
    /// Langevin steps of the squared error.
    pub steps: u32,
    /// Images of the squared error.
    pub images: u32,
    /// Samples of the Fréchet distance.
    pub samples: u32,
    /// Areas under the precision-recall curve by score, of fits on whole images.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auprc: BTreeMap<String, f64>,
    /// Mean squared error of intensities in [0, 1]: of reconstructed test images, or of the recovered hidden
    /// values of incomplete images.
    pub squared_error: f64,
    /// Fréchet distance of samples to real images, by `trainer fid` without a network.
    pub frechet: f64,
    /// What the model costs, of its fit on whole images with the first seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub costs: Option<Costs>,
}

/// Reads the results that the plan names.
///
/// # Errors
/// When the file is missing or is no such file, or a result is not one of the plan's.
pub(super) fn kept(plan: &Comparison) -> anyhow::Result<Kept<FitResult>> {
    Kept::read(plan.results.as_deref(), |result: &FitResult| {
        let mut models = plan.models.iter();
        let model = models.find(|model| model.name == result.model);
        let fit = Fit {
            model: model.with_context(|| {
                let name = &result.model;
                format!("the plan has no model {name:?}; remove the line")
            })?,
            seed: result.seed,
            mask: result.mask,
        };
        let expected = (
            (plan.dataset.to_string(), &plan.holdout),
            plan.changes(&fit),
            [plan.steps, plan.images, plan.samples],
        );
        let found = (
            (result.dataset.clone(), &result.holdout),
            result.changes.clone(),
            [result.steps, result.images, result.samples],
        );
        ensure!(
            found == expected,
            "the result is of {found:?}, and the plan says {expected:?}; remove the line to compute it again"
        );
        Ok(fit.name())
    })
}
