//! Operators that join, cut and pad.

use super::{
    Cotangents, Product, Types, describe, f32_of, is_number, known_axes, known_ints,
    normalize_axis, single,
};
use crate::graph::attribute::attributes;
use crate::graph::{Dim, ElementType, Graph, GraphError, Node, ValueType};

attributes! {
    /// What is joined along an axis.
    pub struct Concat {
        /// The axis, from the end where it is negative.
        axis: i64,
    }

    /// Parts along an axis.
    pub struct Split {
        /// The axis, from the end where it is negative.
        axis: i64 = 0,
    }
}

pub(super) fn concat_shape(graph: &Graph, node: &Node, concat: &Concat) -> Types {
    let mut shape = graph.shape(node.input(0)?)?.to_vec();
    let axis = normalize_axis(node, concat.axis, shape.len())?;
    let mut total = 0;
    for index in 0..node.inputs.len() {
        let part = graph.shape(node.input(index)?)?;
        let fits = part.len() == shape.len()
            && part
                .iter()
                .zip(&shape)
                .enumerate()
                .all(|(at, (a, b))| at == axis || a == b);
        match part.get(axis) {
            Some(&Dim::Fixed(size)) if fits => total = size.saturating_add(total),
            _ => {
                return Err(node.error(format!(
                    "input {index} of shape {} does not fit",
                    describe(part)
                )));
            }
        }
    }
    shape[axis] = Dim::Fixed(total);
    Ok(f32_of(shape))
}

/// Sizes of the parts of a `Split`, and its axis.
fn split_parts(
    graph: &Graph,
    node: &Node,
    split: &Split,
) -> Result<(usize, Vec<usize>), GraphError> {
    let shape = graph.shape(node.input(0)?)?;
    let axis = normalize_axis(node, split.axis(), shape.len())?;
    let Dim::Fixed(size) = shape[axis] else {
        return Err(node.error("the rows of the batch cannot be split"));
    };
    let parts: Vec<usize> = match node.optional_input(1) {
        Some(value) => known_ints(graph, value)
            .ok_or_else(|| node.error(format!("the sizes {value} are not a constant")))?
            .iter()
            .map(|&part| usize::try_from(part).unwrap_or(usize::MAX))
            .collect(),
        None => vec![size / node.outputs.len().max(1); node.outputs.len()],
    };
    let total = parts
        .iter()
        .fold(0_usize, |total, &part| total.saturating_add(part));
    if parts.len() != node.outputs.len() || total != size {
        return Err(node.error(format!("{size} cannot be split into {parts:?}")));
    }
    Ok((axis, parts))
}

pub(super) fn split_shape(graph: &Graph, node: &Node, split: &Split) -> Types {
    let shape = graph.shape(node.input(0)?)?;
    let (axis, parts) = split_parts(graph, node, split)?;
    let part_type = |size| {
        let mut part = shape.to_vec();
        part[axis] = Dim::Fixed(size);
        ValueType {
            element: ElementType::F32,
            shape: part,
        }
    };
    Ok(parts.into_iter().map(part_type).collect())
}

/// One axis of a `Slice` with step 1.
struct SliceRange {
    axis: usize,
    start: usize,
    end: usize,
    size: usize,
}

fn slice_ranges(graph: &Graph, node: &Node) -> Result<Vec<SliceRange>, GraphError> {
    let shape = graph.shape(node.input(0)?)?;
    let list = |index: usize| {
        let value = node.input(index)?;
        known_ints(graph, value).ok_or_else(|| node.error(format!("{value} is not a constant")))
    };
    let (starts, ends) = (list(1)?, list(2)?);
    let axes = match node.optional_input(3) {
        Some(axes) => known_axes(graph, node, axes, shape.len())?,
        None => (0..starts.len()).collect(),
    };
    if node.optional_input(4).is_some() && list(4)?.iter().any(|&step| step != 1) {
        return Err(node.error("only slices with step 1 are supported"));
    }
    if starts.len() != axes.len() || ends.len() != axes.len() {
        return Err(node.error("starts, ends and axes differ in length"));
    }
    axes.iter()
        .zip(starts.iter().zip(ends))
        .map(|(&axis, (&start, &end))| {
            let Some(&Dim::Fixed(size)) = shape.get(axis) else {
                return Err(node.error(format!(
                    "axis {axis} of {} cannot be sliced",
                    describe(shape)
                )));
            };
            let length = i64::try_from(size).unwrap_or(i64::MAX);
            let bound = |at: i64| {
                let from_front = if at < 0 {
                    at.saturating_add(length)
                } else {
                    at
                };
                from_front.clamp(0, length) as usize
            };
            let (start, end) = (bound(start), bound(end));
            Ok(SliceRange {
                axis,
                start,
                end: end.max(start),
                size,
            })
        })
        .collect()
}

pub(super) fn slice_shape(graph: &Graph, node: &Node) -> Types {
    let mut shape = graph.shape(node.input(0)?)?.to_vec();
    for range in slice_ranges(graph, node)? {
        shape[range.axis] = Dim::Fixed(range.end - range.start);
    }
    Ok(f32_of(shape))
}

/// Zeros before and after each axis of a `Pad`.
fn pad_amounts(graph: &Graph, node: &Node) -> Result<Vec<(usize, usize)>, GraphError> {
    let rank = graph.shape(node.input(0)?)?.len();
    let value = node.input(1)?;
    let pads = known_ints(graph, value)
        .filter(|pads| pads.len() == 2 * rank)
        .ok_or_else(|| node.error(format!("the pads {value} are not {} constants", 2 * rank)))?;
    let amount = |pad: i64| {
        usize::try_from(pad).map_err(|_| node.error(format!("the pad {pad} is negative")))
    };
    (0..rank)
        .map(|axis| Ok((amount(pads[axis])?, amount(pads[axis + rank])?)))
        .collect()
}

pub(super) fn pad_shape(graph: &Graph, node: &Node) -> Types {
    let mut shape = graph.shape(node.input(0)?)?.to_vec();
    for (dim, (before, after)) in shape.iter_mut().zip(pad_amounts(graph, node)?) {
        match dim {
            Dim::Fixed(size) => *size = size.saturating_add(before).saturating_add(after),
            Dim::Batch if (before, after) == (0, 0) => {}
            Dim::Batch => return Err(node.error("the rows of the batch cannot be padded")),
        }
    }
    Ok(f32_of(shape))
}

pub(super) fn concat_vjp(
    graph: &mut Graph,
    node: &Node,
    c: Cotangents,
    position: usize,
    concat: &Concat,
) -> Product {
    let cotangent = single(node, c)?;
    if is_number(graph, &cotangent)? {
        return Ok(Some(cotangent));
    }
    let full = graph.expand_like(&cotangent, node.output(0)?)?;
    let axis = normalize_axis(node, concat.axis, graph.shape(node.output(0)?)?.len())?;
    let mut start = 0;
    for index in 0..=position {
        let Dim::Fixed(size) = graph.shape(node.input(index)?)?[axis] else {
            return Err(node.error("the rows of batches are joined, which has no rule"));
        };
        if index == position {
            return graph.slice(&full, axis, start, start + size).map(Some);
        }
        start += size;
    }
    Ok(None)
}

pub(super) fn split_vjp(graph: &mut Graph, node: &Node, c: Cotangents, split: &Split) -> Product {
    let (axis, _) = split_parts(graph, node, split)?;
    let zero = graph.scalar(0.0);
    let mut parts = Vec::with_capacity(node.outputs.len());
    for (output, cotangent) in node.outputs.iter().zip(c) {
        parts.push(graph.expand_like(cotangent.as_ref().unwrap_or(&zero), output)?);
    }
    let parts: Vec<_> = parts.iter().collect();
    graph.concat(&parts, axis).map(Some)
}

pub(super) fn slice_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    if position != 0 {
        return Ok(None);
    }
    let mut amounts = vec![(0, 0); graph.shape(node.input(0)?)?.len()];
    for range in slice_ranges(graph, node)? {
        amounts[range.axis] = (range.start, range.size - range.end);
    }
    let full = graph.expand_like(&single(node, c)?, node.output(0)?)?;
    graph.pad(&full, &amounts).map(Some)
}

pub(super) fn pad_vjp(graph: &mut Graph, node: &Node, c: Cotangents, position: usize) -> Product {
    if position != 0 {
        return Ok(None);
    }
    let amounts = pad_amounts(graph, node)?;
    let shape = graph.shape(node.input(0)?)?.to_vec();
    let mut inner = graph.expand_like(&single(node, c)?, node.output(0)?)?;
    for (axis, (&(before, after), dim)) in amounts.iter().zip(shape).enumerate() {
        if let (true, Dim::Fixed(size)) = (before + after > 0, dim) {
            inner = graph.slice(&inner, axis, before, before + size)?;
        }
    }
    Ok(Some(inner))
}
