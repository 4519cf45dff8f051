//! Constants.

use super::repeat::broadcast_to;
use super::{FileNode, Importer, Lowered, fixed};
use crate::codec::Elements;
use crate::graph;
use crate::graph::attribute::attributes;
use crate::tensor::Tensor;

attributes! {
    pub(in crate::import) struct Constant {
        value: Option<graph::Constant>,
        value_float: Option<f32>,
        value_floats: Option<Vec<f32>>,
        value_int: Option<i64>,
        value_ints: Option<Vec<i64>>,
        value_string: Option<String>,
    }

    pub(in crate::import) struct ConstantOfShape ignores ["value"] {}

    pub(in crate::import) struct Trilu {
        upper: bool = true,
    }
}

/// Numbers that are attributes; tensors are read before any rule.
pub(super) fn constant(importer: &mut Importer, node: &FileNode, constant: &Constant) -> Lowered {
    let (shape, elements) = match constant {
        Constant {
            value_float: Some(value),
            ..
        } => (vec![], Elements::Floats(vec![*value])),
        Constant {
            value_floats: Some(values),
            ..
        } => (vec![values.len()], Elements::Floats(values.clone())),
        Constant {
            value_int: Some(value),
            ..
        } => (vec![], Elements::Ints(vec![*value])),
        Constant {
            value_ints: Some(values),
            ..
        } => (vec![values.len()], Elements::Ints(values.clone())),
        Constant {
            value: None,
            value_string: None,
            ..
        } => return Err(node.error("it has no value")),
        _ => return Err(node.error("its value is not of numbers")),
    };
    importer.constant(node.output(0)?.clone(), shape, elements);
    Ok(None)
}

/// More numbers than are followed, or as many as the batch has rows.
pub(super) fn constant_of_shape(importer: &mut Importer, node: &FileNode) -> Lowered {
    let sizes = importer.ints(node, 0)?.unwrap_or_default();
    let fill = importer.floats(node, 1)?;
    let number = importer
        .graph
        .scalar(fill.first().copied().unwrap_or_default());
    broadcast_to(importer, node, &number, &sizes).map(Some)
}

/// Whether a triangle has the element; the diagonal is counted from the main one to the right.
pub(in crate::import) fn in_triangle(
    row: usize,
    column: usize,
    diagonal: i64,
    upper: bool,
) -> bool {
    let ahead = (column as i128) - (row as i128) - i128::from(diagonal);
    if upper { ahead >= 0 } else { ahead <= 0 }
}

/// The upper or the lower triangle of matrices.
pub(super) fn trilu(importer: &mut Importer, node: &FileNode, trilu: &Trilu) -> Lowered {
    let x = importer.input(node, 0)?;
    let diagonal = importer.numbers(node, 1)?.and_then(|k| k.first().copied());
    let shape = importer.graph.shape(&x)?;
    let last = shape.len().saturating_sub(2);
    let [rows, columns] = fixed(node, &shape[last..])?[..] else {
        return Err(node.error("its input is no matrix"));
    };
    importer.fill(node, rows.checked_mul(columns))?;
    let upper = trilu.upper();
    let kept = |flat: usize| {
        let kept = in_triangle(flat / columns, flat % columns, diagonal.unwrap_or(0), upper);
        f32::from(u8::from(kept))
    };
    let mask = Tensor::new([rows, columns], (0..rows * columns).map(kept).collect());
    let graph = &mut importer.graph;
    let mask = graph.weights(&format!("{}.mask", node.name), mask);
    let (half, zero) = (graph.scalar(0.5), graph.scalar(0.0));
    let mask = graph.greater(&mask, &half)?;
    graph.select(&mask, &x, &zero).map(Some)
}
