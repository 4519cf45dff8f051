//! Nodes whose inputs are known, and so are their outputs.

use super::elementwise::{binary, broadcast_place, cast_all, select, unary};
use super::{Importer, Kind, Known, MAX_LENGTH, Scalar, Size, count, position, strides};
use crate::graph::{GraphError, Op, Reduction};
use crate::import::lower::{FileNode, FileOp, Foreign};

/// The first output of `node`, where it is known: a function of known tensors, or the shape of a
/// value. The others of such nodes are none.
pub(in crate::import) fn fold(
    importer: &Importer,
    node: &FileNode,
) -> Result<Option<Known>, GraphError> {
    use FileOp::{Foreign as F, Own};
    if let F(Foreign::Shape(range)) = &node.op {
        return shape(importer, node, range.start(), range.end).map(Some);
    }
    let known = |value| importer.known.get(value);
    let inputs: Option<Vec<&Known>> = node.inputs.iter().flatten().map(known).collect();
    let Some(inputs) = inputs.filter(|inputs| !inputs.is_empty()) else {
        return Ok(None);
    };
    // By their places: those before may be absent.
    let at = |index: usize| node.optional_input(index).and_then(known);
    let folded = match (&node.op, &inputs[..]) {
        (Own(Op::Identity), [a]) => Some((*a).clone()),
        (Own(Op::Unsqueeze), [a, axes]) => unsqueeze(a, &axes.numbers().unwrap_or_default()),
        (Own(Op::Squeeze), [a, ..]) => squeeze(a, at(1)),
        (Own(Op::Flatten(flat)), [a]) => flatten(a, flat.axis()),
        (Own(Op::Transpose(turned)), [a]) => transpose(a, turned.perm.as_deref()),
        (Own(Op::Concat(joined)), parts) => concat(parts, joined.axis),
        (Own(Op::Slice), [a, ..]) => slice(a, [at(1), at(2), at(3), at(4)]),
        (Own(Op::Expand), [a, shape]) => expand(a, shape),
        (Own(Op::Where), [condition, a, b]) => select(condition, a, b),
        (Own(Op::Min | Op::Max), [first, rest @ ..]) => rest
            .iter()
            .try_fold((*first).clone(), |all, next| binary(&node.op, &all, next)),
        (Own(Op::ReduceSum(of)), [a, ..]) => reduce(&Own(Op::Add), of, a, at(1)),
        (Own(Op::ReduceMax(of)), [a, ..]) => reduce(&Own(Op::Max), of, a, at(1)),
        (F(Foreign::ReduceMin(of)), [a, ..]) => reduce(&Own(Op::Min), of, a, at(1)),
        (F(Foreign::ReduceProd(of)), [a, ..]) => reduce(&Own(Op::Mul), of, a, at(1)),
        (F(Foreign::Cast(cast)), [a]) => cast_all(a, cast.to),
        (F(Foreign::CastLike(_)), [a, like]) => cast_all(a, code_of(like.kind)),
        (F(Foreign::Reshape(reshaped)), [a, shape]) => reshape(a, shape, reshaped.allowzero()),
        (F(Foreign::Gather(picked)), [a, index]) => gather(a, index, picked.axis()),
        (F(Foreign::Tile), [a, repeats]) => tile(a, repeats),
        (F(Foreign::ConstantOfShape(_)), [shape, value]) => filled(shape, value),
        (F(Foreign::Range), [start, limit, step]) => range(start, limit, step),
        (F(Foreign::Size), [a]) => i64::try_from(a.values.len())
            .ok()
            .map(|size| Known::scalar(Scalar::number(size))),
        (F(Foreign::NonZero), [a]) => non_zero(a),
        (F(Foreign::Trilu(trilu)), [a, ..]) => triangle(a, at(1), trilu.upper()),
        (op, [a]) => unary(op, a),
        (op, [a, b]) => binary(op, a, b),
        _ => None,
    };
    Ok(folded)
}

/// ONNX's code of a type of this kind.
fn code_of(kind: Kind) -> i64 {
    match kind {
        Kind::Float => 1,
        Kind::Int => 7,
        Kind::Bool => 9,
    }
}

fn shape(
    importer: &Importer,
    node: &FileNode,
    start: i64,
    end: Option<i64>,
) -> Result<Known, GraphError> {
    let input = node.input(0)?;
    let whole = match importer.known.get(input) {
        Some(known) => known
            .shape
            .iter()
            .map(|&size| i64::try_from(size).ok().map(Scalar::number))
            .collect::<Option<_>>()
            .map(Known::list),
        None => {
            let value = importer.present(input)?;
            Known::of_shape(importer.graph.shape(value)?)
        }
    };
    let whole = whole.ok_or_else(|| node.error("a size is too large"))?;
    let rank = whole.values.len() as i64;
    let bound =
        |at: i64| (if at < 0 { at.saturating_add(rank) } else { at }).clamp(0, rank) as usize;
    let (start, end) = (bound(start), bound(end.unwrap_or(rank)));
    Ok(Known::list(
        whole.values.get(start..end).unwrap_or_default().to_vec(),
    ))
}

fn axis_of(axis: i64, rank: usize) -> Option<usize> {
    let counted = if axis < 0 {
        axis.checked_add(rank as i64)?
    } else {
        axis
    };
    usize::try_from(counted).ok().filter(|&axis| axis < rank)
}

fn unsqueeze(a: &Known, axes: &[i64]) -> Option<Known> {
    let rank = a.shape.len() + axes.len();
    let axes: Vec<usize> = axes
        .iter()
        .map(|&axis| axis_of(axis, rank))
        .collect::<Option<_>>()?;
    let mut rest = a.shape.iter().copied();
    let size = |axis| {
        if axes.contains(&axis) {
            Some(1)
        } else {
            rest.next()
        }
    };
    a.reshaped((0..rank).map(size).collect::<Option<_>>()?)
}

fn squeeze(a: &Known, axes: Option<&Known>) -> Option<Known> {
    let rank = a.shape.len();
    let axes: Vec<usize> = match axes {
        Some(axes) => axes
            .numbers()?
            .iter()
            .map(|&axis| axis_of(axis, rank))
            .collect::<Option<_>>()?,
        None => (0..rank).filter(|&axis| a.shape[axis] == 1).collect(),
    };
    let kept = (0..rank).filter(|axis| !axes.contains(axis));
    a.reshaped(kept.map(|axis| a.shape[axis]).collect())
}

fn reshape(a: &Known, sizes: &Known, allows_zero: bool) -> Option<Known> {
    let sizes = sizes.numbers()?;
    let mut shape = Vec::with_capacity(sizes.len());
    for (axis, &size) in sizes.iter().enumerate() {
        shape.push(match size {
            0 if !allows_zero => *a.shape.get(axis)?,
            -1 => 1,
            size => usize::try_from(size).ok()?,
        });
    }
    if let Some(axis) = sizes.iter().position(|&size| size == -1) {
        shape[axis] = a.values.len().checked_div(count(&shape)?)?;
    }
    a.reshaped(shape)
}

fn flatten(a: &Known, axis: i64) -> Option<Known> {
    let axis = if axis == a.shape.len() as i64 {
        a.shape.len()
    } else {
        axis_of(axis, a.shape.len())?
    };
    let (before, after) = a.shape.split_at(axis);
    a.reshaped(vec![count(before)?, count(after)?])
}

fn transpose(a: &Known, perm: Option<&[i64]>) -> Option<Known> {
    let rank = a.shape.len();
    let perm: Vec<usize> = match perm {
        Some(perm) if perm.len() == rank => perm
            .iter()
            .map(|&axis| axis_of(axis, rank))
            .collect::<Option<_>>()?,
        Some(_) => return None,
        None => (0..rank).rev().collect(),
    };
    let shape: Vec<usize> = perm.iter().map(|&axis| a.shape[axis]).collect();
    let strides = strides(&a.shape);
    let place = |flat| {
        let at = position(flat, &shape);
        Some(at.zip(&perm).map(|(at, &axis)| at * strides[axis]).sum())
    };
    a.pick(shape.clone(), (0..a.values.len()).map(place))
}

fn concat(parts: &[&Known], axis: i64) -> Option<Known> {
    let first = parts.first()?;
    let axis = axis_of(axis, first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[axis] = 0;
    for part in parts {
        if part.shape.len() != shape.len() || part.kind != first.kind {
            return None;
        }
        let fits = |at: usize| at == axis || part.shape[at] == first.shape[at];
        if !(0..shape.len()).all(fits) {
            return None;
        }
        shape[axis] += part.shape[axis];
    }
    let total = count(&shape).filter(|&total| total <= MAX_LENGTH)?;
    let mut values = Vec::with_capacity(total);
    // Of nothing there may be any number.
    let outer = if total == 0 {
        0
    } else {
        count(&first.shape[..axis])?
    };
    for outer in 0..outer {
        for part in parts {
            let block = count(&part.shape[axis..])?;
            values.extend_from_slice(part.values.get(outer * block..(outer + 1) * block)?);
        }
    }
    Some(Known::new(shape, first.kind, values))
}

/// The elements at `indices` of the axis `axis`, in the shape that `inner` says they have there.
fn pick_along(a: &Known, axis: usize, indices: &[usize], inner: &[usize]) -> Option<Known> {
    let (before, after) = (count(&a.shape[..axis])?, count(&a.shape[axis + 1..])?);
    let size = a.shape[axis];
    if indices.iter().any(|&index| index >= size) {
        return None;
    }
    let total = before.checked_mul(indices.len())?.checked_mul(after)?;
    let place = |flat: usize| {
        let (rest, last) = (flat / after, flat % after);
        let index = indices[rest % indices.len()];
        Some((rest / indices.len() * size + index) * after + last)
    };
    let shape = [&a.shape[..axis], inner, &a.shape[axis + 1..]].concat();
    a.pick(shape, (0..total.min(MAX_LENGTH + 1)).map(place))
}

fn gather(a: &Known, index: &Known, axis: i64) -> Option<Known> {
    let axis = axis_of(axis, a.shape.len())?;
    let size = a.shape[axis];
    let places = index.numbers()?.into_iter().map(|at| axis_of(at, size));
    pick_along(a, axis, &places.collect::<Option<Vec<_>>>()?, &index.shape)
}

fn slice(a: &Known, [starts, ends, axes, steps]: [Option<&Known>; 4]) -> Option<Known> {
    let (starts, ends) = (starts?.numbers()?, ends?.numbers()?);
    let axes = match axes {
        Some(axes) => axes.numbers()?,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match steps {
        Some(steps) => steps.numbers()?,
        None => vec![1; starts.len()],
    };
    let mut cut = a.clone();
    for (((&start, &end), &axis), &step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let axis = axis_of(axis, cut.shape.len())?;
        let indices = super::super::lower::indices(cut.shape[axis], start, end, step)?;
        cut = pick_along(&cut, axis, &indices, &[indices.len()])?;
    }
    Some(cut)
}

fn expand(a: &Known, sizes: &Known) -> Option<Known> {
    let sizes = sizes.numbers()?;
    let rank = sizes.len().max(a.shape.len());
    if rank > MAX_LENGTH {
        return None;
    }
    let mut shape = vec![1; rank];
    for (to, &size) in shape.iter_mut().rev().zip(sizes.iter().rev()) {
        *to = usize::try_from(size).ok()?;
    }
    for (to, &size) in shape.iter_mut().rev().zip(a.shape.iter().rev()) {
        match (*to, size) {
            (1, size) => *to = size,
            (wanted, size) if size == 1 || size == wanted => {}
            _ => return None,
        }
    }
    let total = count(&shape).filter(|&total| total <= MAX_LENGTH)?;
    let places = (0..total).map(|flat| Some(broadcast_place(flat, &shape, &a.shape)));
    a.pick(shape.clone(), places)
}

fn tile(a: &Known, repeats: &Known) -> Option<Known> {
    let mut tiled = a.clone();
    let repeats = repeats.numbers()?;
    if repeats.len() != a.shape.len() {
        return None;
    }
    for (axis, &times) in repeats.iter().enumerate() {
        let times = usize::try_from(times).ok()?;
        let size = tiled.shape[axis];
        let total = size
            .checked_mul(times)
            .filter(|&total| total <= MAX_LENGTH)?;
        let indices: Vec<usize> = (0..total).map(|at| at % size.max(1)).collect();
        tiled = pick_along(&tiled, axis, &indices, &[total])?;
    }
    Some(tiled)
}

fn filled(shape: &Known, value: &Known) -> Option<Known> {
    let sizes = shape.numbers()?;
    let sizes: Vec<usize> = sizes
        .into_iter()
        .map(usize::try_from)
        .collect::<Result<_, _>>()
        .ok()?;
    let total = count(&sizes).filter(|&total| total <= MAX_LENGTH)?;
    let value = *value.values.first()?;
    Some(Known::new(sizes, value.kind(), vec![value; total]))
}

fn range(start: &Known, limit: &Known, step: &Known) -> Option<Known> {
    let values: Vec<Scalar> = match (
        start.values.first()?,
        limit.values.first()?,
        step.values.first()?,
    ) {
        (Scalar::Float(start), Scalar::Float(limit), Scalar::Float(step)) => {
            let length = ((f64::from(*limit) - f64::from(*start)) / f64::from(*step)).ceil();
            if length.is_nan() || length > MAX_LENGTH as f64 {
                return None;
            }
            let length = length.max(0.0) as usize;
            (0..length)
                .map(|at| Scalar::Float(start + at as f32 * step))
                .collect()
        }
        (
            Scalar::Int(Size::Number(start)),
            Scalar::Int(Size::Number(limit)),
            Scalar::Int(Size::Number(step)),
        ) => {
            let (start, limit, step) = (i128::from(*start), i128::from(*limit), i128::from(*step));
            let length = match step.signum() {
                1 => (limit - start + step - 1).div_euclid(step),
                -1 => (start - limit - step - 1).div_euclid(-step),
                _ => return None,
            };
            let length = usize::try_from(length.max(0))
                .ok()
                .filter(|&n| n <= MAX_LENGTH)?;
            let value = |at: usize| {
                i64::try_from(start + at as i128 * step)
                    .ok()
                    .map(Scalar::number)
            };
            (0..length).map(value).collect::<Option<_>>()?
        }
        _ => return None,
    };
    Some(Known::new(vec![values.len()], start.kind, values))
}

/// Indices of the elements that are not zero, a row for each axis.
fn non_zero(a: &Known) -> Option<Known> {
    let is_set = |value: &Scalar| match value {
        Scalar::Bool(value) => Some(*value),
        Scalar::Float(value) => Some(*value != 0.0),
        Scalar::Int(Size::Number(value)) => Some(*value != 0),
        Scalar::Int(Size::Batch) => None,
    };
    let set: Vec<bool> = a.values.iter().map(is_set).collect::<Option<_>>()?;
    let places: Vec<usize> = (0..set.len()).filter(|&at| set[at]).collect();
    let total = places.len().checked_mul(a.shape.len())?;
    if total > MAX_LENGTH {
        return None;
    }
    let strides = strides(&a.shape);
    let along = |axis: usize| {
        let (stride, size) = (strides[axis].max(1), a.shape[axis].max(1));
        places
            .iter()
            .map(move |&flat| Scalar::number((flat / stride % size) as i64))
    };
    let values = (0..a.shape.len()).flat_map(along).collect();
    Some(Known::new(
        vec![a.shape.len(), places.len()],
        Kind::Int,
        values,
    ))
}

/// The upper or the lower triangle; the rest is zero.
fn triangle(a: &Known, diagonal: Option<&Known>, upper: bool) -> Option<Known> {
    let [.., rows, columns] = a.shape[..] else {
        return None;
    };
    let diagonal = diagonal.map_or(Some(0), Known::first)?;
    let zero = match a.kind {
        Kind::Int => Scalar::number(0),
        Kind::Float => Scalar::Float(0.0),
        Kind::Bool => Scalar::Bool(false),
    };
    let keep = |flat: usize| {
        let (row, column) = (flat / columns % rows, flat % columns);
        super::super::lower::in_triangle(row, column, diagonal, upper)
    };
    let values = a.values.iter().enumerate();
    let values = values
        .map(|(flat, &value)| if keep(flat) { value } else { zero })
        .collect();
    Some(Known::new(a.shape.clone(), a.kind, values))
}

/// Of all elements of a list, by `pairs` of them.
fn reduce(pairs: &FileOp, reduction: &Reduction, a: &Known, axes: Option<&Known>) -> Option<Known> {
    if a.shape.len() > 1 {
        return None;
    }
    let axes = match (&reduction.axes, axes) {
        (Some(axes), _) => axes.clone(),
        (None, Some(axes)) => axes.numbers()?,
        (None, None) => Vec::new(),
    };
    if axes.is_empty() && reduction.noop_with_empty_axes() {
        return Some(a.clone());
    }
    let mut values = a.values.iter().map(|&value| Known::scalar(value));
    let first = values.next()?;
    let total = values.try_fold(first, |all, next| binary(pairs, &all, &next))?;
    let keeps = reduction.keepdims() && !a.shape.is_empty();
    total.reshaped(vec![1; usize::from(keeps)])
}
