//! Sums over dimensions.

use super::{Cotangents, Product, Types, axes, f32_of, is_number, single};
use crate::graph::{Dim, Graph, GraphError, Node, Value};
use crate::op::Op;

pub(super) fn reduce_shape(graph: &Graph, node: &Node) -> Types {
    let shape = graph.shape(node.input(0)?)?;
    let axes = reduced_axes(graph, node, shape.len())?;
    let keep = node.int("keepdims", 1) != 0;
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

/// The axes that are summed over, counted from the front: without any, all, or none if it says so.
///
/// # Errors
/// When an axis does not exist, or the axes are not constant.
pub fn reduced_axes(graph: &Graph, node: &Node, rank: usize) -> Result<Vec<usize>, GraphError> {
    let given = axes(graph, node, 1, rank)?;
    let any = node.ints("axes").is_some() || node.optional_input(1).is_some();
    Ok(if any && !given.is_empty() {
        given
    } else if node.int("noop_with_empty_axes", 0) != 0 {
        Vec::new()
    } else {
        (0..rank).collect()
    })
}

/// The cotangent with the reduced dimensions put back with size one, so that it broadcasts to
/// the input.
fn restored(graph: &mut Graph, node: &Node, cotangents: Cotangents) -> Result<Value, GraphError> {
    let cotangent = single(node, cotangents)?;
    if node.int("keepdims", 1) != 0 || is_number(graph, &cotangent)? {
        return Ok(cotangent);
    }
    let rank = graph.shape(node.input(0)?)?.len();
    let axes: Vec<i64> = reduced_axes(graph, node, rank)?
        .into_iter()
        .map(|axis| axis as i64)
        .collect();
    if axes.is_empty() {
        return Ok(cotangent);
    }
    let full = graph.expand_like(&cotangent, node.output(0)?)?;
    graph.unsqueeze(&full, &axes)
}

pub(super) fn sum_vjp(graph: &mut Graph, node: &Node, cotangents: Cotangents, _: usize) -> Product {
    restored(graph, node, cotangents).map(Some)
}

pub(super) fn mean_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    _: usize,
) -> Product {
    let shape = graph.shape(node.input(0)?)?.to_vec();
    let mut count = 1;
    for axis in reduced_axes(graph, node, shape.len())? {
        match shape[axis] {
            Dim::Fixed(size) => count *= size,
            Dim::Batch => return Err(node.error("a mean over the rows of the batch has no rule")),
        }
    }
    let cotangent = restored(graph, node, cotangents)?;
    graph.scale(&cotangent, 1.0 / count as f32).map(Some)
}

pub(super) fn sum_square_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    _: usize,
) -> Product {
    let cotangent = restored(graph, node, cotangents)?;
    let twice = graph.scale(&cotangent, 2.0)?;
    graph.mul(&twice, node.input(0)?).map(Some)
}

/// The largest elements share the cotangent.
pub(super) fn max_vjp(graph: &mut Graph, node: &Node, cotangents: Cotangents, _: usize) -> Product {
    let x = node.input(0)?;
    let rank = graph.shape(x)?.len();
    let axes: Vec<i64> = reduced_axes(graph, node, rank)?
        .into_iter()
        .map(|axis| axis as i64)
        .collect();
    let cotangent = restored(graph, node, cotangents)?;
    if axes.is_empty() {
        return Ok(Some(cotangent));
    }
    let largest = if node.int("keepdims", 1) == 0 {
        graph.unsqueeze(node.output(0)?, &axes)?
    } else {
        node.output(0)?.clone()
    };
    let is_largest = graph.apply(Op::Equal, &[x, &largest], [])?;
    let (one, zero) = (graph.scalar(1.0), graph.scalar(0.0));
    let chosen = graph.select(&is_largest, &one, &zero)?;
    let count = graph.reduce_sum(&chosen, &axes, true)?;
    let share = graph.div(&chosen, &count)?;
    graph.mul(&cotangent, &share).map(Some)
}
