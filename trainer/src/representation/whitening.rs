//! The map from features to x: their principal components, scaled, and the length of what these leave out.

use anyhow::ensure;
use lfbm_model::{Residual, Whitening};
use tch::{Kind, Tensor};

use crate::model::host;
use crate::principal::Components;

/// Added to the standard deviation of a feature, which may be 0.
const SMALLEST_DEVIATION: f64 = 1e-3;
/// Residuals that the scale is made of, at most; they are of components of as many other images.
const RESIDUALS: i64 = 2048;
/// The standard deviation of a residual, in that of a component. On MNIST it is what residuals have without any scaling.
const RESIDUAL_DEVIATION: f64 = 0.5;
/// A residual whose standard deviation is a smaller part of a component's is drowned in the rounding errors of single
/// precision, in which a bundle computes it.
const SMALLEST_RESIDUAL: f64 = 5e-3;

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
/// there are; `with_residual`, which takes proportional components, also to what they leave out, unless that is nothing.
///
/// # Errors
/// When the features do not vary, or are not finite.
pub(super) fn fit_whitening(
    features: &Tensor,
    components: i64,
    scaling: Scaling,
    with_residual: bool,
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
    let residual = if with_residual && scaling == Scaling::Proportional {
        fit_residual(&rows, components, scales.double_value(&[0]))
    } else {
        None
    };
    let basis = &found.basis / scales;
    // (f - mean) / deviation - mean of that, which is 0 but for rounding, times the basis.
    let basis = basis / deviation.transpose(0, 1);
    Ok(Whitening {
        mean: host::to_host(&mean.view([-1])),
        basis: host::to_host(&basis.contiguous()),
        residual,
    })
}

/// How residuals of rows become values of x, where components have the standard deviation `deviation`: by residuals of
/// rows that their components were not made of. The rows that components are made of have smaller residuals, all 0 where they
/// are no more than the components, and would give no scale.
fn fit_residual(rows: &Tensor, components: i64, deviation: f64) -> Option<Residual> {
    let count = (rows.size()[0] / 2).min(RESIDUALS);
    if count < 2 {
        return None;
    }
    let [known, unknown] = [0, 1].map(|first| {
        let step = rows.size()[0] / count;
        rows.slice(0, first, step * count, step)
    });
    let found = Components::of(&known, components);
    let centred = unknown - &found.mean;
    let left_out = &centred - centred.matmul(&found.basis).matmul(&found.basis.tr());
    let lengths = left_out.norm_scalaropt_dim(2, [1_i64].as_slice(), false);
    let spread = lengths.std(true).double_value(&[]);
    (spread > SMALLEST_RESIDUAL * deviation).then(|| Residual {
        unit: deviation as f32,
        mean: lengths.mean(Kind::Double).double_value(&[]) as f32,
        scale: (RESIDUAL_DEVIATION / spread) as f32,
    })
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::{RESIDUAL_DEVIATION, Scaling, fit_whitening};

    /// Rows of six values near a plane, by noise of that deviation across it.
    fn near_a_plane(rows: i64, noise: f64) -> Tensor {
        let options = (Kind::Float, Device::Cpu);
        let plane = Tensor::eye(6, options).narrow(0, 0, 2) * 3.0;
        Tensor::randn([rows, 2], options).matmul(&plane) + Tensor::randn([rows, 6], options) * noise
    }

    /// Also of so few rows that the components pass through all of them.
    #[test]
    fn residuals_are_scaled_by_those_of_other_rows() {
        tch::manual_seed(1);
        for (rows, components) in [(4000, 2), (8, 7)] {
            let features = near_a_plane(rows, 0.1);
            let whitening =
                fit_whitening(&features, components, Scaling::Proportional, true).unwrap();
            let residual = whitening.residual.unwrap();
            if rows == 4000 {
                // Of a vector of four values of that deviation: mean and standard deviation of chi with 4 degrees of freedom.
                assert!((residual.mean - 0.188).abs() < 0.005, "{residual:?}");
                let spread = RESIDUAL_DEVIATION as f32 / residual.scale;
                assert!((spread - 0.0682).abs() < 0.005, "{residual:?}");
            }
            assert!(residual.scale.is_finite() && residual.scale > 0.0);
        }
    }

    #[test]
    fn components_that_leave_out_nothing_have_no_residual() {
        tch::manual_seed(2);
        let fit = |features: Tensor, components, with_residual| {
            let fitted = fit_whitening(&features, components, Scaling::Proportional, with_residual);
            fitted.unwrap().residual
        };
        assert_eq!(fit(near_a_plane(500, 0.0), 2, true), None);
        assert_eq!(fit(near_a_plane(500, 0.1), 6, true), None);
        assert_eq!(fit(near_a_plane(500, 0.1), 2, false), None);
    }
}
