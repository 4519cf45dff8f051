//! Whitening of the values of all sites by one linear map.

use lfbm_onnx::{Dim, Graph, Tensor};

use super::sites::continued;
use crate::error::ModelError;
use crate::weights::expect_shape;

/// `x = (f - mean) basis`, the same for every site.
#[derive(Clone, Debug, PartialEq)]
pub struct Whitening {
    /// Means of the features, `[n]`.
    pub mean: Tensor,
    /// What each feature adds to each value, `[n, D]`.
    pub basis: Tensor,
}

/// Appends a whitening to a graph of [`features_graph`](super::features_graph): `x: [B,S,n]` becomes
/// `x: [B,S,D]`.
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
    graph.output("x", &white)?;
    graph.simplify();
    Ok(graph)
}
