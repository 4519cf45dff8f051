//! Softmax and its logarithm.

use super::{Cotangents, Product, Types, normalize_axis, single};
use crate::graph::attribute::attributes;
use crate::graph::{Dim, Graph, GraphError, Node};

attributes! {
    /// Shares of elements along an axis, or their logarithms.
    pub struct Shares {
        /// The axis, from the end where it is negative.
        axis: i64 = -1,
    }
}

/// The axis along which the shares add up to one.
fn axis(graph: &Graph, node: &Node, shares: &Shares) -> Result<i64, GraphError> {
    let shape = graph.shape(node.input(0)?)?;
    let axis = normalize_axis(node, shares.axis(), shape.len())?;
    if shape[axis] == Dim::Batch {
        return Err(
            node.error("it compares the rows of the batch, which do not influence each other")
        );
    }
    Ok(axis as i64)
}

pub(super) fn softmax_shape(graph: &Graph, node: &Node, shares: &Shares) -> Types {
    axis(graph, node, shares)?;
    Ok(vec![graph.value_type(node.input(0)?)?.clone()])
}

/// `y (c - sum(c y))`
pub(super) fn softmax_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    shares: &Shares,
) -> Product {
    let y = node.output(0)?;
    let axis = axis(graph, node, shares)?;
    let cotangent = single(node, cotangents)?;
    let weighted = graph.mul(&cotangent, y)?;
    let mean = graph.reduce_sum(&weighted, &[axis], true)?;
    let centred = graph.sub(&cotangent, &mean)?;
    graph.mul(&centred, y).map(Some)
}

/// `c - softmax(x) sum(c)`
pub(super) fn log_softmax_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    shares: &Shares,
) -> Product {
    let y = node.output(0)?;
    let axis = axis(graph, node, shares)?;
    let cotangent = graph.expand_like(&single(node, cotangents)?, y)?;
    let total = graph.reduce_sum(&cotangent, &[axis], true)?;
    let softmax = graph.exp(y)?;
    let pulled = graph.mul(&softmax, &total)?;
    graph.sub(&cotangent, &pulled).map(Some)
}
