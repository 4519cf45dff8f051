//! Sums, means and extrema along axes.

use super::{FileNode, Importer, Lowered};
use crate::graph::ops::normalize_axis;
use crate::graph::{Dim, GraphError, Op, Reduction, Value};

/// An operator of graphs that reduces.
type Reduce = fn(Reduction) -> Op;

/// Which axes are reduced: without any, all, or none if the node says so.
fn axes_of(
    importer: &Importer,
    node: &FileNode,
    reduction: &Reduction,
    rank: usize,
) -> Result<Vec<usize>, GraphError> {
    let given = match &reduction.axes {
        Some(axes) => axes.clone(),
        None => importer.numbers(node, 1)?.unwrap_or_default(),
    };
    let mut axes = Vec::with_capacity(given.len());
    for axis in given {
        let axis = normalize_axis(node, axis, rank)?;
        if !axes.contains(&axis) {
            axes.push(axis);
        }
    }
    if axes.is_empty() && !reduction.noop_with_empty_axes() {
        axes = (0..rank).collect();
    }
    Ok(axes)
}

/// Axes are an input in newer operator sets, and an attribute in this crate's.
fn reduced(
    importer: &mut Importer,
    node: &FileNode,
    reduction: &Reduction,
    reduce: Reduce,
    x: &Value,
    keep: bool,
) -> Result<Value, GraphError> {
    let shape = importer.graph.shape(x)?;
    let axes = axes_of(importer, node, reduction, shape.len())?;
    if axes.iter().any(|&axis| shape[axis] == Dim::Fixed(0)) {
        return Err(node.error("it reduces an axis without elements"));
    }
    let axes: Vec<i64> = axes.into_iter().map(|axis| axis as i64).collect();
    let graph = &mut importer.graph;
    match reduce(Reduction::along(&axes, keep)) {
        // Without a sum, what comes before it is left.
        Op::ReduceSumSquare(_) if axes.is_empty() => graph.mul(x, x),
        _ if axes.is_empty() => Ok(x.clone()),
        Op::ReduceSum(_) => graph.reduce_sum(x, &axes, keep),
        op => graph.apply(op, &[x]),
    }
}

pub(super) fn reduce(
    importer: &mut Importer,
    node: &FileNode,
    reduction: &Reduction,
    reduce: Reduce,
) -> Lowered {
    let x = importer.input(node, 0)?;
    reduced(importer, node, reduction, reduce, &x, reduction.keepdims()).map(Some)
}

/// The largest of what has the other sign.
pub(super) fn reduce_min(
    importer: &mut Importer,
    node: &FileNode,
    reduction: &Reduction,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let negative = importer.graph.neg(&x)?;
    let largest = reduced(
        importer,
        node,
        reduction,
        Op::ReduceMax,
        &negative,
        reduction.keepdims(),
    )?;
    importer.graph.neg(&largest).map(Some)
}

pub(super) fn reduce_l1(
    importer: &mut Importer,
    node: &FileNode,
    reduction: &Reduction,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let size = importer.graph.apply(Op::Abs, &[&x])?;
    reduced(
        importer,
        node,
        reduction,
        Op::ReduceSum,
        &size,
        reduction.keepdims(),
    )
    .map(Some)
}

pub(super) fn reduce_l2(
    importer: &mut Importer,
    node: &FileNode,
    reduction: &Reduction,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let square = reduced(
        importer,
        node,
        reduction,
        Op::ReduceSumSquare,
        &x,
        reduction.keepdims(),
    )?;
    importer.graph.sqrt(&square).map(Some)
}

pub(super) fn reduce_log_sum(
    importer: &mut Importer,
    node: &FileNode,
    reduction: &Reduction,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let sum = reduced(
        importer,
        node,
        reduction,
        Op::ReduceSum,
        &x,
        reduction.keepdims(),
    )?;
    importer.graph.log(&sum).map(Some)
}

/// With the largest taken out, so that no exponential overflows.
pub(super) fn reduce_log_sum_exp(
    importer: &mut Importer,
    node: &FileNode,
    reduction: &Reduction,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let largest = reduced(importer, node, reduction, Op::ReduceMax, &x, true)?;
    let below = importer.graph.sub(&x, &largest)?;
    let exponential = importer.graph.exp(&below)?;
    let sum = reduced(
        importer,
        node,
        reduction,
        Op::ReduceSum,
        &exponential,
        reduction.keepdims(),
    )?;
    let log = importer.graph.log(&sum)?;
    let largest = reduced(
        importer,
        node,
        reduction,
        Op::ReduceMax,
        &x,
        reduction.keepdims(),
    )?;
    importer.graph.add(&log, &largest).map(Some)
}

fn global(importer: &mut Importer, node: &FileNode, reduce: Reduce) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len() as i64;
    let reduction = Reduction {
        axes: Some((2..rank).collect()),
        ..Reduction::default()
    };
    importer.graph.apply(reduce(reduction), &[&x]).map(Some)
}

pub(super) fn global_average_pool(importer: &mut Importer, node: &FileNode) -> Lowered {
    global(importer, node, Op::ReduceMean)
}

pub(super) fn global_max_pool(importer: &mut Importer, node: &FileNode) -> Lowered {
    global(importer, node, Op::ReduceMax)
}
