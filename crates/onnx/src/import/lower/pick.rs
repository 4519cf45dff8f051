//! What picks elements, and slices that do.

use super::{FileNode, Importer, Lowered, fixed};
use crate::graph::attribute::attributes;
use crate::graph::ops::normalize_axis;
use crate::graph::{Dim, GraphError, Op, Value};
use crate::tensor::Tensor;

attributes! {
    pub(in crate::import) struct Gather {
        axis: i64 = 0,
    }

    pub(in crate::import) struct GatherND {
        batch_dims: i64 = 0,
    }
}

/// Elements at known places of an axis.
pub(super) fn gather(importer: &mut Importer, node: &FileNode, gather: &Gather) -> Lowered {
    let x = importer.input(node, 0)?;
    let shape = importer.graph.shape(&x)?.to_vec();
    let axis = normalize_axis(node, gather.axis(), shape.len())?;
    let at = importer
        .numbers(node, 1)?
        .ok_or_else(|| node.error("it has no indices"))?;
    let known = node
        .optional_input(1)
        .and_then(|value| importer.known.get(value));
    let inner = known.map_or_else(Vec::new, |known| known.shape.clone());
    let places = places(node, &at, shape[axis])?;
    let picked = pick(importer, node, &x, axis, &places)?;
    let inner = inner.into_iter().map(Dim::Fixed);
    let before = shape[..axis].iter().copied();
    let whole: Vec<Dim> = before
        .chain(inner)
        .chain(shape[axis + 1..].iter().copied())
        .collect();
    if importer.graph.shape(&picked)? == whole {
        return Ok(Some(picked));
    }
    importer.reshaped(&picked, &whole).map(Some)
}

/// Elements at known places of the first axes together, as advanced indexing is exported.
pub(super) fn gather_nd(importer: &mut Importer, node: &FileNode, gather: &GatherND) -> Lowered {
    let x = importer.input(node, 0)?;
    let at = importer.numbers(node, 1)?.unwrap_or_default();
    let known = node
        .optional_input(1)
        .and_then(|value| importer.known.get(value));
    let inner = known.map_or_else(Vec::new, |known| known.shape.clone());
    if gather.batch_dims() != 0 {
        return Err(node.error("batch_dims are not supported"));
    }
    let shape = importer.graph.shape(&x)?.to_vec();
    let Some((&depth, inner)) = inner
        .split_last()
        .filter(|(depth, _)| (1..=shape.len()).contains(*depth))
    else {
        return Err(node.error("its indices do not fit its input"));
    };
    let (indexed, rest) = shape.split_at(depth);
    let sizes = fixed(node, indexed)?;
    let total = sizes
        .iter()
        .try_fold(1_usize, |n, &size| n.checked_mul(size));
    let total = total.ok_or_else(|| node.error("its input is too large"))?;
    let mut flat = Vec::with_capacity(at.len() / depth);
    for index in at.chunks(depth) {
        let mut place = 0;
        for (one, &size) in index.iter().zip(&sizes) {
            let along = places(node, &[*one], Dim::Fixed(size))?;
            place = place * size + along.first().copied().unwrap_or_default();
        }
        flat.push(place);
    }
    let joined = [&[Dim::Fixed(total)], rest].concat();
    let row = importer.reshaped(&x, &joined)?;
    let picked = pick(importer, node, &row, 0, &flat)?;
    let inner: Vec<Dim> = inner.iter().copied().map(Dim::Fixed).collect();
    importer
        .reshaped(&picked, &[&inner, rest].concat())
        .map(Some)
}

/// Indices along an axis of the size `dim`, counted from the front.
fn places(node: &FileNode, indices: &[i64], dim: Dim) -> Result<Vec<usize>, GraphError> {
    let Dim::Fixed(size) = dim else {
        return Err(node.error("it picks rows of the batch, which do not influence each other"));
    };
    let place = |&index: &i64| {
        let counted = if index < 0 {
            i64::try_from(size)
                .ok()
                .and_then(|size| index.checked_add(size))
        } else {
            Some(index)
        };
        let place = counted.and_then(|place| usize::try_from(place).ok());
        place
            .filter(|&place| place < size)
            .ok_or_else(|| node.error(format!("index {index} is outside of {size}")))
    };
    indices.iter().map(place).collect()
}

/// Pieces that are cut and joined, at most; more are picked by a product.
const MAX_PIECES: usize = 16;
/// Elements of a matrix whose product is faster than cutting and joining.
const SMALL_MATRIX: usize = 1 << 12;

/// The elements at `places` of the axis `axis`, in that order: a slice, some slices, or a product
/// with a matrix of zeros and ones, which moves elements both ways in one operation.
pub(super) fn pick(
    importer: &mut Importer,
    node: &FileNode,
    x: &Value,
    axis: usize,
    places: &[usize],
) -> Result<Value, GraphError> {
    let shape = importer.graph.shape(x)?;
    let Some(&Dim::Fixed(size)) = shape.get(axis) else {
        return Err(node.error("it picks rows of the batch, which do not influence each other"));
    };
    let rank = shape.len();
    let mut pieces: Vec<(usize, usize)> = Vec::new();
    for &place in places {
        match pieces.last_mut() {
            Some((_, end)) if *end == place => *end += 1,
            _ => pieces.push((place, place + 1)),
        }
    }
    let small = rank >= 2 && axis + 2 >= rank && size.saturating_mul(places.len()) <= SMALL_MATRIX;
    match pieces[..] {
        [] => return importer.graph.slice(x, axis, 0, 0),
        [(0, end)] if end == size => return Ok(x.clone()),
        [(start, end)] => return importer.graph.slice(x, axis, start, end),
        _ if pieces.len() <= MAX_PIECES && !small => {
            let graph = &mut importer.graph;
            let slices = pieces
                .iter()
                .map(|&(start, end)| graph.slice(x, axis, start, end));
            let slices: Vec<Value> = slices.collect::<Result<_, _>>()?;
            return graph.concat(&slices.iter().collect::<Vec<_>>(), axis);
        }
        _ => {}
    }
    let elements = size.checked_mul(places.len());
    importer.fill(node, elements)?;
    let mut matrix = vec![0.0; elements.unwrap_or_default()];
    for (to, &from) in places.iter().enumerate() {
        matrix[to * size + from] = 1.0;
    }
    let matrix = Tensor::new([places.len(), size], matrix);
    along(importer, node, x, axis, matrix)
}

/// The product of `matrix`, outputs x inputs, with the axis `axis` of `x`.
pub(super) fn along(
    importer: &mut Importer,
    node: &FileNode,
    x: &Value,
    axis: usize,
    matrix: Tensor,
) -> Result<Value, GraphError> {
    let rank = importer.graph.shape(x)?.len();
    let name = format!("{}.{axis}", node.name);
    if axis + 2 == rank {
        let matrix = importer.graph.weights(&name, matrix);
        return importer.graph.matmul(&matrix, x);
    }
    let matrix = importer.graph.weights(&name, transposed(&matrix));
    if axis + 1 == rank && rank > 1 {
        return importer.graph.matmul(x, &matrix);
    }
    if rank == 1 {
        let row = importer.graph.unsqueeze(x, &[0])?;
        let product = importer.graph.matmul(&row, &matrix)?;
        let axes = importer.graph.int_list(&[0]);
        return importer.graph.apply(Op::Squeeze, &[&product, &axes]);
    }
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(axis, rank - 1);
    let last = importer.graph.transpose(x, &order)?;
    let product = importer.graph.matmul(&last, &matrix)?;
    importer.graph.transpose(&product, &order)
}

fn transposed(matrix: &Tensor) -> Tensor {
    let [rows, columns] = matrix.shape[..] else {
        return matrix.clone();
    };
    let at = |index: usize| matrix.data[index % rows * columns + index / rows];
    Tensor::new([columns, rows], (0..matrix.data.len()).map(at).collect())
}

/// Indices that are given by a range alone.
const MAX_INDICES: usize = 1 << 16;

/// The indices of a slice along an axis of `size`; `None` if they are too many, or the step is 0.
pub(in crate::import) fn indices(
    size: usize,
    start: i64,
    end: i64,
    step: i64,
) -> Option<Vec<usize>> {
    let size = i64::try_from(size).ok()?;
    let counted = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let stride = usize::try_from(step.unsigned_abs())
        .ok()
        .filter(|&stride| stride > 0)?;
    let range: Box<dyn Iterator<Item = i64>> = if step > 0 {
        let (start, end) = (counted(start).clamp(0, size), counted(end).clamp(0, size));
        Box::new((start..end).step_by(stride))
    } else {
        let (start, end) = (
            counted(start).clamp(-1, size - 1),
            counted(end).clamp(-1, size - 1),
        );
        Box::new((end + 1..=start).rev().step_by(stride))
    };
    let indices: Vec<usize> = range.take(MAX_INDICES + 1).map(|at| at as usize).collect();
    (indices.len() <= MAX_INDICES).then_some(indices)
}

/// Slices with a step, or backwards, pick elements; of the batch, a slice is all rows.
pub(super) fn slice(importer: &mut Importer, node: &FileNode) -> Lowered {
    let list = |index| importer.numbers(node, index);
    let (starts, ends) = (list(1)?.unwrap_or_default(), list(2)?.unwrap_or_default());
    let axes = list(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = list(4)?.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(node.error("starts, ends, axes and steps differ in length"));
    }
    let mut x = importer.input(node, 0)?;
    let ranges = starts.iter().zip(&ends).zip(axes.iter().zip(&steps));
    for ((&start, &end), (&at, &step)) in ranges {
        let shape = importer.graph.shape(&x)?;
        let axis = normalize_axis(node, at, shape.len())?;
        let Dim::Fixed(size) = shape[axis] else {
            // Beyond any number of rows, as exporters write "to the end".
            if start == 0 && end >= i64::from(i32::MAX) && step == 1 {
                continue;
            }
            return Err(
                node.error("it cuts the rows of the batch, which do not influence each other")
            );
        };
        if step == 1 {
            let size = size as i64;
            let counted =
                |at: i64| (if at < 0 { at.saturating_add(size) } else { at }).clamp(0, size);
            let (start, end) = (counted(start), counted(end));
            if (start, end) != (0, size) {
                x = importer
                    .graph
                    .slice(&x, axis, start as usize, end.max(start) as usize)?;
            }
            continue;
        }
        let places = indices(size, start, end, step).ok_or_else(|| {
            node.error(format!(
                "it picks more than {MAX_INDICES} elements, or has the step 0"
            ))
        })?;
        x = pick(importer, node, &x, axis, &places)?;
    }
    Ok(Some(x))
}
