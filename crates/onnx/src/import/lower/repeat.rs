//! What repeats elements.

use super::{FileNode, Importer, Lowered, Size};
use crate::graph::{Dim, GraphError, Op, Value};

pub(super) fn expand(importer: &mut Importer, node: &FileNode) -> Lowered {
    let input = importer.input(node, 0)?;
    let sizes = importer
        .ints(node, 1)?
        .ok_or_else(|| node.error("it has no shape"))?;
    broadcast_to(importer, node, &input, &sizes).map(Some)
}

/// Dimensions that a shape may ask for.
const MAX_RANK: usize = 16;

/// `x` broadcast to `sizes`, one of which may be the number of the batch's rows.
pub(super) fn broadcast_to(
    importer: &mut Importer,
    node: &FileNode,
    x: &Value,
    sizes: &[Size],
) -> Result<Value, GraphError> {
    let present = importer.graph.shape(x)?.to_vec();
    let rank = sizes.len().max(present.len());
    if rank > MAX_RANK {
        return Err(node.error(format!("its shape has {rank} dimensions")));
    }
    let mut full = vec![Size::Number(1); rank - sizes.len()];
    full.extend(sizes);
    // Where the rows are those of x already, broadcasting keeps them.
    let numbers: Vec<i64> = full
        .iter()
        .map(|size| match size {
            Size::Number(number) => *number,
            Size::Batch => 1,
        })
        .collect();
    let mut dims = vec![Dim::Fixed(1); rank - present.len()];
    dims.extend(&present);
    let has_rows = |axis: usize| dims[axis] == Dim::Batch;
    let mut missing = (0..rank).filter(|&axis| full[axis] == Size::Batch && !has_rows(axis));
    let (row_axis, other) = (missing.next(), missing.next());
    if other.is_some() || row_axis.is_some() && dims.contains(&Dim::Batch) {
        return Err(node.error("it makes a dimension of the batch's rows twice"));
    }
    let is_there = |(dim, number): (&Dim, &i64)| match dim {
        Dim::Batch => *number == 1,
        Dim::Fixed(size) => *number == 1 || usize::try_from(*number) == Ok(*size),
    };
    let expanded = if dims.len() == present.len() && dims.iter().zip(&numbers).all(is_there) {
        x.clone()
    } else {
        let numbers = importer.graph.int_list(&numbers);
        importer.graph.apply(Op::Expand, &[x, &numbers])?
    };
    match row_axis {
        Some(axis) => importer.in_every_row(&expanded, axis),
        None => Ok(expanded),
    }
}

/// `x` with `times[axis]` copies along each axis: of each element beside it, or of the whole.
pub(super) fn repeated(
    importer: &mut Importer,
    x: &Value,
    times: &[usize],
    beside: bool,
) -> Result<Value, GraphError> {
    if times.iter().all(|&times| times == 1) {
        return Ok(x.clone());
    }
    let shape = importer.graph.shape(x)?.to_vec();
    // Each axis that is repeated becomes two, one of which is expanded.
    let (mut apart, mut full, mut together) = (Vec::new(), Vec::new(), Vec::new());
    for (&dim, &times) in shape.iter().zip(times) {
        let size = match dim {
            Dim::Fixed(size) if times != 1 => size,
            dim => {
                apart.push(dim);
                full.push(match dim {
                    Dim::Fixed(size) => size as i64,
                    Dim::Batch => 1,
                });
                together.push(dim);
                continue;
            }
        };
        let copies = times as i64;
        if beside {
            apart.extend([Dim::Fixed(size), Dim::Fixed(1)]);
            full.extend([size as i64, copies]);
        } else {
            apart.extend([Dim::Fixed(1), Dim::Fixed(size)]);
            full.extend([copies, size as i64]);
        }
        together.push(Dim::Fixed(size.saturating_mul(times)));
    }
    let spread = importer.reshaped(x, &apart)?;
    let full = importer.graph.int_list(&full);
    let filled = importer.graph.apply(Op::Expand, &[&spread, &full])?;
    importer.reshaped(&filled, &together)
}

pub(super) fn tile(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let repeats = importer.ints(node, 1)?.unwrap_or_default();
    let shape = importer.graph.shape(&x)?.to_vec();
    if repeats.len() != shape.len() {
        let (given, rank) = (repeats.len(), shape.len());
        return Err(node.error(format!("it has {given} repeats for {rank} dimensions")));
    }
    let mut rows = None;
    let mut times = Vec::with_capacity(shape.len());
    for (axis, (&repeat, &dim)) in repeats.iter().zip(&shape).enumerate() {
        times.push(match (repeat, dim) {
            (Size::Number(1), _) => 1,
            (Size::Batch, Dim::Fixed(1)) if rows.is_none() && !shape.contains(&Dim::Batch) => {
                rows = Some(axis);
                1
            }
            (Size::Number(number), Dim::Fixed(_)) if number > 0 => {
                usize::try_from(number).map_err(|_| node.error("it repeats too often"))?
            }
            _ => {
                return Err(node.error(
                    "it repeats the rows of the batch, or something no whole number of times",
                ));
            }
        });
    }
    let tiled = repeated(importer, &x, &times, false)?;
    match rows {
        Some(axis) => importer.in_every_row(&tiled, axis).map(Some),
        None => Ok(Some(tiled)),
    }
}
