//! Sums over dimensions.

use super::{Cotangents, Op, Product, Types, axes_of, f32_of, is_number, known_axes, single};
use crate::graph::attribute::attributes;
use crate::graph::{Dim, Graph, GraphError, Node, Value};

attributes! {
    /// How dimensions are reduced.
    pub struct Reduction {
        /// The axes, where they are no input: without any, all.
        axes: Option<Vec<i64>>,
        /// Whether a reduced dimension stays, of size one.
        keepdims: bool = true,
        /// Whether nothing is reduced without axes.
        noop_with_empty_axes: bool = false,
    }
}

pub(super) fn reduce_shape(graph: &Graph, node: &Node, reduction: &Reduction) -> Types {
    let shape = graph.shape(node.input(0)?)?;
    let axes = reduction.axes(graph, node, shape.len())?;
    let keep = reduction.keepdims();
    let reduced =
        shape
            .iter()
            .enumerate()
            .filter_map(|(axis, &dim)| match (axes.contains(&axis), keep) {
                (false, _) => Some(dim),
                (true, true) => Some(Dim::Fixed(1)),
                (true, false) => None,
            });
    Ok(f32_of(reduced.collect()))
}

impl Reduction {
    /// Along `axes`, which are an attribute; they stay, of size one, where `keep` holds.
    pub(crate) fn along(axes: &[i64], keep: bool) -> Self {
        Self {
            axes: Some(axes.to_vec()),
            keepdims: Some(keep),
            noop_with_empty_axes: None,
        }
    }

    /// The axes of `node` that are reduced, counted from the front, of `rank`.
    ///
    /// # Errors
    /// When an axis does not exist, or the axes are not constant.
    pub fn axes(&self, graph: &Graph, node: &Node, rank: usize) -> Result<Vec<usize>, GraphError> {
        let given = match (&self.axes, node.optional_input(1)) {
            (Some(axes), _) => axes_of(node, axes, rank)?,
            (None, Some(value)) => known_axes(graph, node, value, rank)?,
            (None, None) => Vec::new(),
        };
        if given.is_empty() && !self.noop_with_empty_axes() {
            return Ok((0..rank).collect());
        }
        Ok(given)
    }
}

/// The cotangent with the reduced dimensions put back with size one, so that it broadcasts to
/// the input.
fn restored(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    reduction: &Reduction,
) -> Result<Value, GraphError> {
    let cotangent = single(node, cotangents)?;
    if reduction.keepdims() || is_number(graph, &cotangent)? {
        return Ok(cotangent);
    }
    let rank = graph.shape(node.input(0)?)?.len();
    let axes: Vec<i64> = reduction
        .axes(graph, node, rank)?
        .into_iter()
        .map(|axis| axis as i64)
        .collect();
    if axes.is_empty() {
        return Ok(cotangent);
    }
    let full = graph.expand_like(&cotangent, node.output(0)?)?;
    graph.unsqueeze(&full, &axes)
}

pub(super) fn sum_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    reduction: &Reduction,
) -> Product {
    restored(graph, node, cotangents, reduction).map(Some)
}

pub(super) fn mean_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    reduction: &Reduction,
) -> Product {
    let shape = graph.shape(node.input(0)?)?.to_vec();
    let mut count = 1;
    for axis in reduction.axes(graph, node, shape.len())? {
        match shape[axis] {
            Dim::Fixed(size) => count *= size,
            Dim::Batch => return Err(node.error("a mean over the rows of the batch has no rule")),
        }
    }
    let cotangent = restored(graph, node, cotangents, reduction)?;
    graph.scale(&cotangent, 1.0 / count as f32).map(Some)
}

pub(super) fn sum_square_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    reduction: &Reduction,
) -> Product {
    let cotangent = restored(graph, node, cotangents, reduction)?;
    let twice = graph.scale(&cotangent, 2.0)?;
    graph.mul(&twice, node.input(0)?).map(Some)
}

/// The largest elements share the cotangent.
pub(super) fn max_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    reduction: &Reduction,
) -> Product {
    let x = node.input(0)?;
    let rank = graph.shape(x)?.len();
    let axes: Vec<i64> = reduction
        .axes(graph, node, rank)?
        .into_iter()
        .map(|axis| axis as i64)
        .collect();
    let cotangent = restored(graph, node, cotangents, reduction)?;
    if axes.is_empty() {
        return Ok(Some(cotangent));
    }
    let largest = if !reduction.keepdims() {
        graph.unsqueeze(node.output(0)?, &axes)?
    } else {
        node.output(0)?.clone()
    };
    let is_largest = graph.apply(Op::Equal, &[x, &largest])?;
    let (one, zero) = (graph.scalar(1.0), graph.scalar(0.0));
    let chosen = graph.select(&is_largest, &one, &zero)?;
    let count = graph.reduce_sum(&chosen, &axes, true)?;
    let share = graph.div(&chosen, &count)?;
    graph.mul(&cotangent, &share).map(Some)
}
