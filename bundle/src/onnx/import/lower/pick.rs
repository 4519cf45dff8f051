//! What picks elements, and slices that do.

use super::{Importer, Lowered, MAX_FILLED};
use crate::onnx::graph::{Constant, Dim, GraphError, Node, Value};
use crate::onnx::ops::normalize_axis;
use crate::tensor::Tensor;

/// Elements at constant places of an axis.
pub(super) fn gather(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let axis = node.int("axis", 0);
    let scalar = node
        .optional_input(1)
        .and_then(|value| importer.known.get(value))
        .is_some_and(|known| matches!(known.constant(), Some(Constant::I64 { shape, .. }) if shape.is_empty()));
    let at = importer
        .numbers(node, 1)?
        .ok_or_else(|| node.error("it has no indices"))?;
    let picked = pick(importer, node, &x, axis, &at)?;
    if !scalar {
        return Ok(Some(picked));
    }
    let axes = importer.graph.int_list(&[axis]);
    importer
        .graph
        .apply("Squeeze", &[&picked, &axes], [])
        .map(Some)
}

/// The form in which an index along the first axis is exported too: a list of lists of one index.
pub(super) fn gather_nd(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let indices = importer.input(node, 1)?;
    let at = match importer.graph.constants().get(&indices) {
        Some(Constant::I64 { shape, data }) if matches!(shape[..], [_, 1]) => data.clone(),
        _ => return Err(node.error("only constant indices along the first axis are supported")),
    };
    if node.int("batch_dims", 0) != 0 {
        return Err(node.error("batch_dims are not supported"));
    }
    pick(importer, node, &x, 0, &at).map(Some)
}

/// The elements at `indices` of the axis `at`, in that order. On the last two axes this is a product with
/// a matrix of zeros and ones, which moves elements both ways in one operation.
fn pick(
    importer: &mut Importer,
    node: &Node,
    x: &Value,
    at: i64,
    indices: &[i64],
) -> Result<Value, GraphError> {
    let shape = importer.graph.shape(x)?;
    let rank = shape.len();
    let axis = normalize_axis(node, at, rank)?;
    let Dim::Fixed(size) = shape[axis] else {
        return Err(node.error("it picks rows of the batch, which do not influence each other"));
    };
    let places = indices
        .iter()
        .map(|&index| {
            let place = if index < 0 {
                index + size as i64
            } else {
                index
            };
            let place = usize::try_from(place).ok().filter(|&place| place < size);
            place.ok_or_else(|| node.error(format!("index {index} is outside of {size}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let graph = &mut importer.graph;
    if let (Some(&first), Some(&last)) = (places.first(), places.last())
        && places.iter().copied().eq(first..=last)
    {
        return graph.slice(x, axis, first, last + 1);
    }
    if rank < 2 || axis + 2 < rank {
        return Err(node.error("it picks from an axis that is not one of the last two"));
    }
    let count = places.len();
    let elements = size.checked_mul(count).filter(|&n| n <= MAX_FILLED);
    let elements = elements.ok_or_else(|| {
        node.error(format!(
            "it picks {count} of {size} elements, which is too many"
        ))
    })?;
    let mut matrix = vec![0.0; elements];
    for (to, from) in places.into_iter().enumerate() {
        let last = axis + 1 == rank;
        matrix[if last {
            from * count + to
        } else {
            to * size + from
        }] = 1.0;
    }
    let name = format!("{}.matrix", node.name);
    if axis + 1 == rank {
        let matrix = graph.weights(&name, Tensor::new([size, count], matrix));
        graph.matmul(x, &matrix)
    } else {
        let matrix = graph.weights(&name, Tensor::new([count, size], matrix));
        graph.matmul(&matrix, x)
    }
}

/// Indices that are given by a range alone.
const MAX_INDICES: usize = 1 << 16;

/// Slices with a step, or backwards, pick elements; others are this crate's.
pub(super) fn slice(importer: &mut Importer, node: &Node) -> Lowered {
    let steps = importer.numbers(node, 4)?.unwrap_or_default();
    if steps.iter().all(|&step| step == 1) {
        return importer.copy(node).map(|()| None);
    }
    let list = |index| importer.numbers(node, index);
    let (starts, ends, axes) = (list(1)?, list(2)?, list(3)?);
    let mut x = importer.input(node, 0)?;
    let starts = starts.unwrap_or_default();
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let ranges = starts.iter().zip(ends.unwrap_or_default()).zip(&steps);
    for (((&start, end), &step), &at) in ranges.zip(&axes) {
        let shape = importer.graph.shape(&x)?;
        let Dim::Fixed(size) = shape[normalize_axis(node, at, shape.len())?] else {
            return Err(node.error(format!("axis {at} has no fixed size")));
        };
        let size = size as i64;
        let counted = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
        let indices: Vec<i64> = if step > 0 {
            let (start, end) = (counted(start).clamp(0, size), counted(end).clamp(0, size));
            let indices = (start..end).step_by(step as usize);
            indices.take(MAX_INDICES + 1).collect()
        } else {
            let start = counted(start).clamp(-1, size - 1);
            let end = counted(end).clamp(-1, size - 1);
            let indices = (end + 1..=start).rev();
            let indices = indices.step_by(step.unsigned_abs().max(1) as usize);
            indices.take(MAX_INDICES + 1).collect()
        };
        if indices.len() > MAX_INDICES {
            return Err(node.error(format!("it picks more than {MAX_INDICES} elements")));
        }
        x = pick(importer, node, &x, at, &indices)?;
    }
    Ok(Some(x))
}
