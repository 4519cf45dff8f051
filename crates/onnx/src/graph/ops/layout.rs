//! Operators that give the same elements another shape, and those about shapes.

use super::{
    Cotangents, Op, Product, Types, broadcast, describe, f32_of, is_number, known_axes, known_ints,
    normalize_axis, single, unbroadcast,
};
use crate::graph::attribute::attributes;
use crate::graph::{Constant, Dim, ElementType, Graph, GraphError, Node, Shape, Value, ValueType};

attributes! {
    /// The dimensions before an axis as one, and the others as another.
    pub struct Flatten {
        /// The first of the others.
        axis: i64 = 1,
    }

    /// Dimensions in another order.
    pub struct Transpose {
        /// Which dimension comes where; reversed without.
        perm: Option<Vec<i64>>,
    }

    /// A tensor as a node.
    pub struct ConstantNode {
        /// The tensor.
        value: Constant,
    }
}

/// How many values a row has; `None` when no machine can count them.
fn fixed_product(shape: &[Dim]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, dim| match dim {
        Dim::Fixed(size) => product.checked_mul(*size),
        Dim::Batch => Some(product),
    })
}

fn batch_count(shape: &[Dim]) -> usize {
    shape.iter().filter(|dim| **dim == Dim::Batch).count()
}

/// The shape that `target` holds, when it is the `Shape` of another value.
fn shape_behind(graph: &Graph, target: &Value) -> Option<Shape> {
    let node = graph
        .nodes
        .iter()
        .find(|node| node.op == Op::Shape && node.outputs.contains(target))?;
    graph
        .shape(node.inputs.first()?.as_ref()?)
        .ok()
        .map(<[Dim]>::to_vec)
}

pub(super) fn reshape_shape(graph: &Graph, node: &Node) -> Types {
    let input = graph.shape(node.input(0)?)?;
    let target = node.input(1)?;
    if let Some(shape) = shape_behind(graph, target) {
        return Ok(f32_of(shape));
    }
    let sizes = known_ints(graph, target)
        .ok_or_else(|| node.error(format!("the target shape {target} is not a constant")))?;
    let misfit = || node.error(format!("{} cannot become {sizes:?}", describe(input)));
    let mut shape = Vec::with_capacity(sizes.len());
    let mut free = None;
    for (axis, &size) in sizes.iter().enumerate() {
        shape.push(match size {
            0 => *input.get(axis).ok_or_else(misfit)?,
            -1 if free.is_none() => {
                free = Some(axis);
                Dim::Fixed(1)
            }
            size => Dim::Fixed(usize::try_from(size).map_err(|_| misfit())?),
        });
    }
    let have = fixed_product(input).ok_or_else(misfit)?;
    let want = fixed_product(&shape).ok_or_else(misfit)?;
    let missing_batches = batch_count(input)
        .checked_sub(batch_count(&shape))
        .ok_or_else(misfit)?;
    match (free, missing_batches) {
        (Some(axis), 1) if have == want => shape[axis] = Dim::Batch,
        (Some(axis), 0) if want != 0 && have % want == 0 => shape[axis] = Dim::Fixed(have / want),
        (None, 0) if have == want => {}
        _ => return Err(misfit()),
    }
    Ok(f32_of(shape))
}

pub(super) fn flatten_shape(graph: &Graph, node: &Node, flatten: &Flatten) -> Types {
    let shape = graph.shape(node.input(0)?)?;
    let axis = usize::try_from(flatten.axis()).unwrap_or(usize::MAX);
    if axis > shape.len() {
        return Err(node.error(format!("axis {axis} is outside of {}", describe(shape))));
    }
    let merge = |dims: &[Dim]| match (batch_count(dims), fixed_product(dims)) {
        (0, Some(size)) => Ok(Dim::Fixed(size)),
        (0, None) => Err(node.error(format!("{} is too large", describe(dims)))),
        (1, Some(1)) => Ok(Dim::Batch),
        _ => Err(node.error("the rows of the batch would be merged with another dimension")),
    };
    Ok(f32_of(vec![merge(&shape[..axis])?, merge(&shape[axis..])?]))
}

fn permutation(node: &Node, transpose: &Transpose, rank: usize) -> Result<Vec<usize>, GraphError> {
    let Some(given) = &transpose.perm else {
        return Ok((0..rank).rev().collect());
    };
    let perm: Vec<_> = given
        .iter()
        .map(|&axis| normalize_axis(node, axis, rank))
        .collect::<Result<_, _>>()?;
    let mut sorted = perm.clone();
    sorted.sort_unstable();
    if sorted.iter().copied().eq(0..rank) {
        Ok(perm)
    } else {
        Err(node.error(format!("{given:?} is no permutation of {rank} dimensions")))
    }
}

pub(super) fn transpose_shape(graph: &Graph, node: &Node, transpose: &Transpose) -> Types {
    let shape = graph.shape(node.input(0)?)?;
    Ok(f32_of(
        permutation(node, transpose, shape.len())?
            .into_iter()
            .map(|axis| shape[axis])
            .collect(),
    ))
}

pub(super) fn unsqueeze_shape(graph: &Graph, node: &Node) -> Types {
    let shape = graph.shape(node.input(0)?)?;
    let added = known_ints(graph, node.input(1)?).map_or(0, <[i64]>::len);
    let rank = shape.len() + added;
    let axes = known_axes(graph, node, node.input(1)?, rank)?;
    let mut rest = shape.iter().copied();
    let dims = (0..rank)
        .map(|axis| {
            if axes.contains(&axis) {
                Some(Dim::Fixed(1))
            } else {
                rest.next()
            }
        })
        .collect::<Option<_>>()
        .ok_or_else(|| node.error("an axis is named twice"))?;
    Ok(f32_of(dims))
}

pub(super) fn squeeze_shape(graph: &Graph, node: &Node) -> Types {
    let shape = graph.shape(node.input(0)?)?;
    let axes = match node.optional_input(1) {
        Some(axes) => known_axes(graph, node, axes, shape.len())?,
        None => (0..shape.len())
            .filter(|&axis| shape[axis] == Dim::Fixed(1))
            .collect(),
    };
    if let Some(&axis) = axes.iter().find(|&&axis| shape[axis] != Dim::Fixed(1)) {
        return Err(node.error(format!("dimension {axis} of {} is not 1", describe(shape))));
    }
    let kept = shape
        .iter()
        .enumerate()
        .filter(|(axis, _)| !axes.contains(axis));
    Ok(f32_of(kept.map(|(_, &dim)| dim).collect()))
}

pub(super) fn expand_shape(graph: &Graph, node: &Node) -> Types {
    let input = graph.shape(node.input(0)?)?;
    let target = node.input(1)?;
    let wanted = match (shape_behind(graph, target), known_ints(graph, target)) {
        (Some(shape), _) => shape,
        (None, Some(sizes)) => sizes
            .iter()
            .map(|&size| usize::try_from(size).map(Dim::Fixed))
            .collect::<Result<_, _>>()
            .map_err(|_| node.error(format!("{sizes:?} is no shape")))?,
        (None, None) => return Err(node.error(format!("the target shape {target} is not known"))),
    };
    let shape = broadcast(input, &wanted).ok_or_else(|| {
        node.error(format!(
            "{} does not expand to {}",
            describe(input),
            describe(&wanted)
        ))
    })?;
    Ok(f32_of(shape))
}

pub(super) fn shape_shape(graph: &Graph, node: &Node) -> Types {
    let rank = graph.shape(node.input(0)?)?.len();
    Ok(vec![ValueType {
        element: ElementType::I64,
        shape: vec![Dim::Fixed(rank)],
    }])
}

/// `Reshape`, `Flatten`, `Squeeze` and `Unsqueeze`: back to the input's shape.
pub(super) fn reshape_vjp(graph: &mut Graph, node: &Node, c: Cotangents, _: usize) -> Product {
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
    let target = graph.apply(Op::Shape, &[input])?;
    graph.apply(Op::Reshape, &[&full, &target]).map(Some)
}

pub(super) fn transpose_vjp(
    graph: &mut Graph,
    node: &Node,
    c: Cotangents,
    transpose: &Transpose,
) -> Product {
    let cotangent = single(node, c)?;
    if is_number(graph, &cotangent)? {
        return Ok(Some(cotangent));
    }
    let full = graph.expand_like(&cotangent, node.output(0)?)?;
    let forward = permutation(node, transpose, graph.shape(node.input(0)?)?.len())?;
    let mut inverse = vec![0; forward.len()];
    for (to, &from) in forward.iter().enumerate() {
        inverse[from] = to;
    }
    graph.transpose(&full, &inverse).map(Some)
}

pub(super) fn expand_vjp(
    graph: &mut Graph,
    node: &Node,
    c: Cotangents,
    position: usize,
) -> Product {
    if position != 0 {
        return Ok(None);
    }
    let cotangent = single(node, c)?;
    unbroadcast(graph, cotangent, node.output(0)?, node.input(0)?).map(Some)
}
