//! Log-densities, in nats.

use std::f64::consts::TAU;

use tch::Tensor;

/// log N(z; 0, I) of each row, of shape (rows).
pub fn log_standard_normal(z: &Tensor) -> Tensor {
    let constant = 0.5 * TAU.ln() * z.size()[1] as f64;
    z.square().sum_dim_intlist([1i64].as_slice(), false, None) * -0.5 - constant
}

/// Sum over the visible pixels of (x - reconstruction)^2, of shape (rows).
///
/// `x` and `reconstruction` have shape (rows, C, H, W); `mask`, where given, (rows, 1, H, W) with 1
/// for a visible pixel. A hidden pixel has no influence, whatever its (finite) value.
pub fn squared_error(x: &Tensor, reconstruction: &Tensor, mask: Option<&Tensor>) -> Tensor {
    let residual = masked(x - reconstruction, mask);
    residual
        .square()
        .flatten(1, -1)
        .sum_dim_intlist([1i64].as_slice(), false, None)
}

/// log p(x|z) = -|m * (x - g(z))|^2 / (2 sigma^2) - D log(sigma sqrt(2 pi)), with D the number of
/// visible values; shapes as in [`squared_error`].
pub fn log_likelihood(
    x: &Tensor,
    reconstruction: &Tensor,
    mask: Option<&Tensor>,
    sigma: f64,
) -> Tensor {
    let per_value = (sigma * TAU.sqrt()).ln();
    let data = squared_error(x, reconstruction, mask) * (-0.5 / (sigma * sigma));
    match mask {
        None => data - per_value * x.size()[1..].iter().product::<i64>() as f64,
        Some(mask) => {
            let visible = mask
                .flatten(1, -1)
                .sum_dim_intlist([1i64].as_slice(), false, None);
            data - visible * (per_value * x.size()[1] as f64)
        }
    }
}

/// A residual with its hidden values set to zero.
pub(super) fn masked(residual: Tensor, mask: Option<&Tensor>) -> Tensor {
    match mask {
        None => residual,
        Some(mask) => residual * mask,
    }
}
