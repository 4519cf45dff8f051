//! Whitening of features: standardised, then their principal components, each of variance 1.

use anyhow::ensure;
use lfbm_model::Whitening;
use tch::{Kind, Tensor};

use crate::model::host;
use crate::principal::Components;

/// Added to the standard deviation of a feature, which may be 0.
const SMALLEST_DEVIATION: f64 = 1e-3;
/// Components of less than this part of the largest variance are rounding errors.
const SMALLEST_VARIANCE: f64 = 1e-6;

/// The whitening of features of sites, rows of n values, to the first `components` components, or as many
/// as there are.
///
/// # Errors
/// When the features do not vary, or are not finite.
pub(super) fn fit_whitening(features: &Tensor, components: i64) -> anyhow::Result<Whitening> {
    let rows = features.flatten(1, -1);
    ensure!(
        rows.isfinite().all().int64_value(&[]) == 1,
        "the features of an image are not finite"
    );
    let mean = rows.mean_dim([0_i64].as_slice(), true, Kind::Float);
    let deviation = rows.std_dim([0_i64].as_slice(), true, true) + SMALLEST_DEVIATION;
    let standard = (&rows - &mean) / &deviation;
    let found = Components::of(&standard, components);
    let variances = &found.variances;
    let largest = variances.max().double_value(&[]);
    ensure!(
        largest > 0.0,
        "all sites of all images have the same features; are the images empty?"
    );
    let kept = variances.gt(largest * SMALLEST_VARIANCE).sum(Kind::Int64);
    let kept = kept.int64_value(&[]);
    let basis = found.basis.narrow(1, 0, kept) / variances.narrow(0, 0, kept).sqrt();
    // (f - mean) / deviation - mean of that, which is 0 but for rounding, times the basis.
    let basis = basis / deviation.transpose(0, 1);
    Ok(Whitening {
        mean: host::to_host(&mean.view([-1])),
        basis: host::to_host(&basis),
    })
}
