//! The linear map from features to x: their principal components, scaled.

use anyhow::ensure;
use lfbm_model::Whitening;
use tch::{Kind, Tensor};

use crate::model::host;
use crate::principal::Components;

/// Added to the standard deviation of a feature, which may be 0.
const SMALLEST_DEVIATION: f64 = 1e-3;

/// How principal components are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scaling {
    /// Features are standardised, and their components have variance 1.
    Whitened,
    /// Features are taken as they are, and their components keep their proportions; the mean of their
    /// variances is 1.
    Proportional,
}

/// The map of features of sites, rows of n values, to the first `components` components, or as many as
/// there are.
///
/// # Errors
/// When the features do not vary, or are not finite.
pub(super) fn fit_whitening(
    features: &Tensor,
    components: i64,
    scaling: Scaling,
) -> anyhow::Result<Whitening> {
    let rows = features.flatten(1, -1);
    ensure!(
        rows.isfinite().all().int64_value(&[]) == 1,
        "the features of an image are not finite"
    );
    let mean = rows.mean_dim([0_i64].as_slice(), true, Kind::Float);
    let deviation = match scaling {
        Scaling::Whitened => rows.std_dim([0_i64].as_slice(), true, true) + SMALLEST_DEVIATION,
        Scaling::Proportional => mean.ones_like(),
    };
    let standard = (&rows - &mean) / &deviation;
    let found = Components::of(&standard, components);
    let variances = &found.variances;
    let largest = variances.max().double_value(&[]);
    ensure!(
        largest > 0.0,
        "all sites of all images have the same features; are the images empty?"
    );
    let scales = match scaling {
        Scaling::Whitened => variances.sqrt(),
        Scaling::Proportional => variances.mean(Kind::Float).sqrt().expand_as(variances),
    };
    let basis = &found.basis / scales;
    // (f - mean) / deviation - mean of that, which is 0 but for rounding, times the basis.
    let basis = basis / deviation.transpose(0, 1);
    Ok(Whitening {
        mean: host::to_host(&mean.view([-1])),
        basis: host::to_host(&basis.contiguous()),
    })
}
