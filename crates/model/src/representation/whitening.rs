//! Features of all sites to x: by one linear map, and by the length of what that leaves out.

use lfbm_onnx::{Dim, Graph, Tensor, Value};

use super::sites::continued;
use crate::error::ModelError;
use crate::weights::expect_shape;

/// `x = (f - mean) basis`, the same for every site, and, if asked for, one value more: the residual.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitening {
    /// Means of the features, `[n]`.
    pub mean: Tensor,
    /// What each feature adds to each value, `[n, D]`.
    pub basis: Tensor,
    /// How the residual becomes the last value of x; without it, x has the D values of the basis alone.
    pub residual: Option<Residual>,
}

/// The length r of the part of `f - mean` that is orthogonal to a basis whose columns are orthogonal and equally long: the
/// distance from feature space (Moghaddam and Pentland, PAMI 1997). What the values along the basis do not show, it shows.
/// Its value is `(r - mean) scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Residual {
    /// One over the length of the basis' columns.
    pub unit: f32,
    /// What is taken from r.
    pub mean: f32,
    /// What the difference is multiplied by.
    pub scale: f32,
}

/// Appends a whitening to a graph of [`features_graph`](super::features_graph): `x: [B,S,n]` becomes
/// `x: [B,S,D]`, or `x: [B,S,D + 1]` with a residual.
///
/// # Errors
/// When the graph's only output is no `x: [B,S,n]`, or the whitening is of another n or empty.
pub fn append_whitening(features: &Graph, whitening: &Whitening) -> Result<Graph, ModelError> {
    let (mut graph, x) = continued(features)?;
    let &[Dim::Batch, Dim::Fixed(_), Dim::Fixed(values)] = graph.shape(&x)? else {
        return Err(ModelError::Spec(format!(
            "the graph {} has no features [B, sites, values] to whiten",
            features.name()
        )));
    };
    let kept = whitening.basis.shape.last().copied().unwrap_or_default();
    expect_shape("the whitening's mean", &whitening.mean, &[values])?;
    expect_shape(
        "the whitening's basis",
        &whitening.basis,
        &[values, kept.max(1)],
    )?;

    let mean = graph.weights("whitening.mean", whitening.mean.clone());
    let basis = graph.weights("whitening.basis", whitening.basis.clone());
    let centred = graph.sub(&x, &mean)?;
    let white = graph.matmul(&centred, &basis)?;
    let x = match whitening.residual {
        Some(residual) => with_residual(&mut graph, &centred, &white, residual)?,
        None => white,
    };
    graph.output("x", &x)?;
    graph.simplify();
    Ok(graph)
}

/// The values along the basis, and that of the residual, by Pythagoras.
fn with_residual(
    graph: &mut Graph,
    centred: &Value,
    white: &Value,
    residual: Residual,
) -> Result<Value, ModelError> {
    let Residual { unit, mean, scale } = residual;
    let all = graph.reduce_sum_square(centred, &[2], true)?;
    let along = graph.reduce_sum_square(white, &[2], true)?;
    let along = graph.scale(&along, unit * unit)?;
    let orthogonal = graph.sub(&all, &along)?;
    // Rounding makes a residual of 0 negative.
    let orthogonal = graph.relu(&orthogonal)?;
    let length = graph.sqrt(&orthogonal)?;
    let mean = graph.scalar(mean);
    let from_mean = graph.sub(&length, &mean)?;
    let value = graph.scale(&from_mean, scale)?;
    Ok(graph.concat(&[white, &value], 2)?)
}
