//! Rules of operators that move elements without changing them.

use super::{is_number, single, unbroadcast};
use crate::onnx::graph::{Dim, Graph, GraphError, Node, Value};
use crate::onnx::shape::{normalize_axis, pad_amounts, permutation, slice_ranges, split_parts};

type Product = Result<Option<Value>, GraphError>;

/// `Reshape`, `Flatten`, `Squeeze` and `Unsqueeze`: back to the input's shape.
pub fn reshape(graph: &mut Graph, node: &Node, c: &[Option<Value>], _: usize) -> Product {
    let cotangent = single(node, c)?;
    if is_number(graph, &cotangent)? {
        return Ok(Some(cotangent));
    }
    let full = graph.expand_like(&cotangent, node.output(0)?)?;
    let input = node.input(0)?;
    let shape = graph.shape(input)?;
    let sizes: Vec<i64> = shape
        .iter()
        .map(|dim| {
            if let Dim::Fixed(size) = dim {
                *size as i64
            } else {
                -1
            }
        })
        .collect();
    if sizes.iter().filter(|&&size| size == -1).count() <= 1 {
        return graph.reshape(&full, &sizes).map(Some);
    }
    let target = graph.apply("Shape", &[input], [])?;
    graph.apply("Reshape", &[&full, &target], []).map(Some)
}

pub fn transpose(graph: &mut Graph, node: &Node, c: &[Option<Value>], _: usize) -> Product {
    let cotangent = single(node, c)?;
    if is_number(graph, &cotangent)? {
        return Ok(Some(cotangent));
    }
    let full = graph.expand_like(&cotangent, node.output(0)?)?;
    let forward = permutation(node, graph.shape(node.input(0)?)?.len())?;
    let mut inverse = vec![0; forward.len()];
    for (to, &from) in forward.iter().enumerate() {
        inverse[from] = to;
    }
    graph.transpose(&full, &inverse).map(Some)
}

pub fn expand(graph: &mut Graph, node: &Node, c: &[Option<Value>], position: usize) -> Product {
    if position != 0 {
        return Ok(None);
    }
    let cotangent = single(node, c)?;
    unbroadcast(graph, cotangent, node.output(0)?, node.input(0)?).map(Some)
}

pub fn concat(graph: &mut Graph, node: &Node, c: &[Option<Value>], position: usize) -> Product {
    let cotangent = single(node, c)?;
    if is_number(graph, &cotangent)? {
        return Ok(Some(cotangent));
    }
    let full = graph.expand_like(&cotangent, node.output(0)?)?;
    let axis = normalize_axis(
        node,
        node.int("axis", 0),
        graph.shape(node.output(0)?)?.len(),
    )?;
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

pub fn split(graph: &mut Graph, node: &Node, c: &[Option<Value>], _: usize) -> Product {
    let (axis, _) = split_parts(graph, node)?;
    let zero = graph.scalar(0.0);
    let mut parts = Vec::with_capacity(node.outputs.len());
    for (output, cotangent) in node.outputs.iter().zip(c) {
        parts.push(graph.expand_like(cotangent.as_ref().unwrap_or(&zero), output)?);
    }
    let parts: Vec<_> = parts.iter().collect();
    graph.concat(&parts, axis).map(Some)
}

pub fn slice(graph: &mut Graph, node: &Node, c: &[Option<Value>], position: usize) -> Product {
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

pub fn pad(graph: &mut Graph, node: &Node, c: &[Option<Value>], position: usize) -> Product {
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
