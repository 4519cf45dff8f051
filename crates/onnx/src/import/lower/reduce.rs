//! Sums, means and extrema along axes.

use super::{Importer, Lowered, operator};
use crate::graph::{Attribute, Dim, FileNode, GraphError, Value};
use crate::op::Op;
use crate::ops::normalize_axis;

/// Which axes are reduced: without any, all, or none if the node says so.
fn axes_of(importer: &Importer, node: &FileNode, rank: usize) -> Result<Vec<usize>, GraphError> {
    let given = importer.axes(node, 1)?.unwrap_or_default();
    let mut axes = Vec::with_capacity(given.len());
    for axis in given {
        let axis = normalize_axis(node, axis, rank)?;
        if !axes.contains(&axis) {
            axes.push(axis);
        }
    }
    if axes.is_empty() && node.int("noop_with_empty_axes", 0) == 0 {
        axes = (0..rank).collect();
    }
    Ok(axes)
}

/// Axes are an input in newer operator sets, and an attribute in this crate's.
fn reduced(
    importer: &mut Importer,
    node: &FileNode,
    op: Op,
    x: &Value,
    keep: bool,
) -> Result<Value, GraphError> {
    let shape = importer.graph.shape(x)?;
    let axes = axes_of(importer, node, shape.len())?;
    if axes.iter().any(|&axis| shape[axis] == Dim::Fixed(0)) {
        return Err(node.error("it reduces an axis without elements"));
    }
    let axes: Vec<i64> = axes.into_iter().map(|axis| axis as i64).collect();
    let graph = &mut importer.graph;
    if axes.is_empty() {
        // Without a sum, what comes before it is left.
        return match op {
            Op::ReduceSumSquare => graph.mul(x, x),
            _ => Ok(x.clone()),
        };
    }
    if op == Op::ReduceSum {
        return graph.reduce_sum(x, &axes, keep);
    }
    let attributes = [
        ("axes", Attribute::Ints(axes)),
        ("keepdims", Attribute::Int(keep.into())),
    ];
    graph.apply(op, &[x], attributes)
}

fn keeps(node: &FileNode) -> bool {
    node.int("keepdims", 1) != 0
}

pub(super) fn reduce(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    reduced(importer, node, operator(node)?, &x, keeps(node)).map(Some)
}

/// The largest of what has the other sign.
pub(super) fn reduce_min(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let negative = importer.graph.neg(&x)?;
    let largest = reduced(importer, node, Op::ReduceMax, &negative, keeps(node))?;
    importer.graph.neg(&largest).map(Some)
}

pub(super) fn reduce_l1(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let size = importer.graph.apply(Op::Abs, &[&x], [])?;
    reduced(importer, node, Op::ReduceSum, &size, keeps(node)).map(Some)
}

pub(super) fn reduce_l2(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let square = reduced(importer, node, Op::ReduceSumSquare, &x, keeps(node))?;
    importer.graph.sqrt(&square).map(Some)
}

pub(super) fn reduce_log_sum(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let sum = reduced(importer, node, Op::ReduceSum, &x, keeps(node))?;
    importer.graph.log(&sum).map(Some)
}

/// With the largest taken out, so that no exponential overflows.
pub(super) fn reduce_log_sum_exp(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let largest = reduced(importer, node, Op::ReduceMax, &x, true)?;
    let below = importer.graph.sub(&x, &largest)?;
    let exponential = importer.graph.exp(&below)?;
    let sum = reduced(importer, node, Op::ReduceSum, &exponential, keeps(node))?;
    let log = importer.graph.log(&sum)?;
    let largest = reduced(importer, node, Op::ReduceMax, &x, keeps(node))?;
    importer.graph.add(&log, &largest).map(Some)
}

fn global(importer: &mut Importer, node: &FileNode, op: Op) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len() as i64;
    let axes = Attribute::Ints((2..rank).collect());
    importer.graph.apply(op, &[&x], [("axes", axes)]).map(Some)
}

pub(super) fn global_average_pool(importer: &mut Importer, node: &FileNode) -> Lowered {
    global(importer, node, Op::ReduceMean)
}

pub(super) fn global_max_pool(importer: &mut Importer, node: &FileNode) -> Lowered {
    global(importer, node, Op::ReduceMax)
}
