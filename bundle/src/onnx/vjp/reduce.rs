//! Rules of sums over dimensions.

use super::{is_number, single};
use crate::onnx::graph::{Dim, Graph, GraphError, Node, Value};
use crate::onnx::shape::axes;

/// The cotangent with the reduced dimensions put back with size one, so that it broadcasts to
/// the input.
fn restored(
    graph: &mut Graph,
    node: &Node,
    cotangents: &[Option<Value>],
) -> Result<Value, GraphError> {
    let cotangent = single(node, cotangents)?;
    if node.int("keepdims", 1) != 0 || is_number(graph, &cotangent)? {
        return Ok(cotangent);
    }
    let rank = graph.shape(node.input(0)?)?.len();
    let axes: Vec<i64> = axes(graph, node, 1, rank)?
        .into_iter()
        .map(|axis| axis as i64)
        .collect();
    let full = graph.expand_like(&cotangent, node.output(0)?)?;
    graph.unsqueeze(&full, &axes)
}

pub fn sum(
    graph: &mut Graph,
    node: &Node,
    cotangents: &[Option<Value>],
    _: usize,
) -> Result<Option<Value>, GraphError> {
    restored(graph, node, cotangents).map(Some)
}

pub fn mean(
    graph: &mut Graph,
    node: &Node,
    cotangents: &[Option<Value>],
    _: usize,
) -> Result<Option<Value>, GraphError> {
    let shape = graph.shape(node.input(0)?)?.to_vec();
    let mut count = 1;
    for axis in axes(graph, node, 1, shape.len())? {
        match shape[axis] {
            Dim::Fixed(size) => count *= size,
            Dim::Batch => return Err(node.error("a mean over the rows of the batch has no rule")),
        }
    }
    let cotangent = restored(graph, node, cotangents)?;
    graph.scale(&cotangent, 1.0 / count as f32).map(Some)
}

pub fn sum_square(
    graph: &mut Graph,
    node: &Node,
    cotangents: &[Option<Value>],
    _: usize,
) -> Result<Option<Value>, GraphError> {
    let cotangent = restored(graph, node, cotangents)?;
    let twice = graph.scale(&cotangent, 2.0)?;
    graph.mul(&twice, node.input(0)?).map(Some)
}
