//! What moves elements and computes nothing.

use super::{FileNode, Importer, Lowered, Size, image_sizes};
use crate::graph::attribute::attributes;
use crate::graph::ops::normalize_axis;
use crate::graph::{Concat, Dim, Flatten, GraphError, Op};

attributes! {
    pub(in crate::import) struct DepthToSpace {
        blocksize: i64,
        mode: String = "DCR".to_owned(),
    }

    pub(in crate::import) struct Reshape {
        allowzero: bool = false,
    }

    pub(in crate::import) struct Shape {
        start: i64 = 0,
        end: Option<i64>,
    }

    pub(in crate::import) struct SpaceToDepth {
        blocksize: i64,
    }

    pub(in crate::import) struct Split ignores ["num_outputs"] {
        axis: i64 = 0,
    }
}

pub(super) fn reshape(importer: &mut Importer, node: &FileNode, reshape: &Reshape) -> Lowered {
    let input = importer.input(node, 0)?;
    let sizes = importer
        .ints(node, 1)?
        .ok_or_else(|| node.error("it has no shape"))?;
    if reshape.allowzero() && sizes.contains(&Size::Number(0)) {
        return Err(node.error("its shape has no elements"));
    }
    let present = importer.graph.shape(&input)?.to_vec();
    if sizes.len() > MAX_RANK {
        return Err(node.error(format!("its shape has {} dimensions", sizes.len())));
    }
    let rest_is_taken = sizes.contains(&Size::Number(-1));
    let sizes: Vec<i64> = sizes
        .iter()
        .enumerate()
        .map(|(axis, size)| match size {
            Size::Number(number) => Ok(*number),
            Size::Batch if present.get(axis) == Some(&Dim::Batch) => Ok(0),
            Size::Batch if !rest_is_taken => Ok(-1),
            Size::Batch => Err(node.error("the batch's rows change their place")),
        })
        .collect::<Result<_, _>>()?;
    let merges = |error| {
        match error {
        GraphError::Node { reason, .. } if present.contains(&Dim::Batch) => node.error(format!(
            "{reason}: the rows of the batch must stay a dimension of their own, which \
             nn.MultiheadAttention merges with its heads and F.scaled_dot_product_attention does not"
        )),
        other => other,
    }
    };
    let reshaped = importer.graph.reshape(&input, &sizes);
    reshaped.map(Some).map_err(merges)
}

/// Dimensions that a shape may ask for.
const MAX_RANK: usize = 16;

/// As a reshaping, whose axis may be counted from the end.
pub(super) fn flatten(importer: &mut Importer, node: &FileNode, flatten: &Flatten) -> Lowered {
    let x = importer.input(node, 0)?;
    let rank = importer.graph.shape(&x)?.len();
    let axis = match flatten.axis() {
        axis if usize::try_from(axis) == Ok(rank) => rank,
        axis => normalize_axis(node, axis, rank)?,
    };
    let flatten = Flatten {
        axis: Some(axis as i64),
    };
    importer.graph.apply(Op::Flatten(flatten), &[&x]).map(Some)
}

pub(super) fn squeeze(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let axes: Vec<i64> = match importer.numbers(node, 1)? {
        Some(axes) => axes,
        None => {
            let dims = importer.graph.shape(&x)?.iter().enumerate();
            let ones = dims.filter(|(_, dim)| **dim == Dim::Fixed(1));
            ones.map(|(axis, _)| axis as i64).collect()
        }
    };
    if axes.is_empty() {
        return Ok(Some(x));
    }
    let axes = importer.graph.int_list(&axes);
    importer.graph.apply(Op::Squeeze, &[&x, &axes]).map(Some)
}

pub(super) fn unsqueeze(importer: &mut Importer, node: &FileNode) -> Lowered {
    let x = importer.input(node, 0)?;
    let axes = importer.numbers(node, 1)?;
    let axes = axes.ok_or_else(|| node.error("it has no axes"))?;
    if axes.len() > MAX_RANK {
        return Err(node.error(format!("it makes {} dimensions", axes.len())));
    }
    importer.graph.unsqueeze(&x, &axes).map(Some)
}

/// Parts without elements add nothing.
pub(super) fn concat(importer: &mut Importer, node: &FileNode, concat: &Concat) -> Lowered {
    let mut parts = Vec::with_capacity(node.inputs.len());
    for index in 0..node.inputs.len() {
        let part = importer.input(node, index)?;
        if !importer.graph.shape(&part)?.contains(&Dim::Fixed(0)) {
            parts.push(part);
        }
    }
    let first = parts
        .first()
        .ok_or_else(|| node.error("it joins nothing"))?;
    let rank = importer.graph.shape(first)?.len();
    let axis = normalize_axis(node, concat.axis, rank)?;
    let parts: Vec<_> = parts.iter().collect();
    importer.graph.concat(&parts, axis).map(Some)
}

/// The side of the squares that channels become or are made of.
fn block_of(side: i64) -> Option<(usize, usize)> {
    let block = usize::try_from(side).ok()?;
    let square = block.checked_mul(block).filter(|&square| square > 0)?;
    Some((block, square))
}

/// Channels become squares of `blocksize` positions.
pub(super) fn depth_to_space(
    importer: &mut Importer,
    node: &FileNode,
    squares: &DepthToSpace,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let [channels, height, width] = image_sizes(importer, node, &x)?;
    let fits = block_of(squares.blocksize).filter(|(_, square)| channels.is_multiple_of(*square));
    let (block, square) = fits.ok_or_else(|| {
        let block = squares.blocksize;
        node.error(format!(
            "{channels} channels make no squares of side {block}"
        ))
    })?;
    let left = channels / square;
    let (sizes, order) = match squares.mode().as_str() {
        "CRD" => ([left, block, block], [0, 1, 4, 2, 5, 3]),
        "DCR" => ([block, block, left], [0, 3, 4, 1, 5, 2]),
        other => return Err(node.error(format!("the mode {other} is not DCR or CRD"))),
    };
    let sizes = [&[0], &sizes[..], &[height, width]].concat();
    let sizes: Vec<i64> = sizes.into_iter().map(|size| size as i64).collect();
    let graph = &mut importer.graph;
    let split = graph.reshape(&x, &sizes)?;
    let moved = graph.transpose(&split, &order)?;
    let sizes = [
        0,
        left,
        height.saturating_mul(block),
        width.saturating_mul(block),
    ];
    graph
        .reshape(&moved, &sizes.map(|size| size as i64))
        .map(Some)
}

/// Squares of `blocksize` positions become channels.
pub(super) fn space_to_depth(
    importer: &mut Importer,
    node: &FileNode,
    squares: &SpaceToDepth,
) -> Lowered {
    let x = importer.input(node, 0)?;
    let [channels, height, width] = image_sizes(importer, node, &x)?;
    let divides = |block: usize| height.is_multiple_of(block) && width.is_multiple_of(block);
    let (block, square) = block_of(squares.blocksize)
        .filter(|(block, _)| divides(*block))
        .ok_or_else(|| {
            let block = squares.blocksize;
            node.error(format!(
                "{height} x {width} positions make no squares of side {block}"
            ))
        })?;
    let (rows, columns) = (height / block, width / block);
    let sizes = [0, channels, rows, block, columns, block].map(|size| size as i64);
    let graph = &mut importer.graph;
    let split = graph.reshape(&x, &sizes)?;
    let moved = graph.transpose(&split, &[0, 3, 5, 1, 2, 4])?;
    let sizes = [0, channels.saturating_mul(square), rows, columns].map(|size| size as i64);
    graph.reshape(&moved, &sizes).map(Some)
}

/// Equal parts need not be written out.
pub(super) fn split(importer: &mut Importer, node: &FileNode, split: &Split) -> Lowered {
    let x = importer.input(node, 0)?;
    let shape = importer.graph.shape(&x)?;
    let axis = normalize_axis(node, split.axis(), shape.len())?;
    let Dim::Fixed(size) = shape[axis] else {
        return Err(node.error("only a dimension of fixed size can be split"));
    };
    let sizes: Vec<usize> = match importer.numbers(node, 1)? {
        Some(sizes) => sizes
            .into_iter()
            .map(usize::try_from)
            .collect::<Result<_, _>>()
            .map_err(|_| node.error("a size is negative"))?,
        None => {
            let part = size.div_ceil(node.outputs.len().max(1));
            let starts = (0..node.outputs.len()).map(|index| index.saturating_mul(part).min(size));
            starts.map(|start| part.min(size - start)).collect()
        }
    };
    if sizes.len() != node.outputs.len() {
        let (parts, outputs) = (sizes.len(), node.outputs.len());
        return Err(node.error(format!("it makes {parts} parts for {outputs} outputs")));
    }
    let parts = importer.graph.split(&x, axis, &sizes)?;
    let parts = node.outputs.iter().cloned().zip(parts);
    importer.names.extend(parts);
    Ok(None)
}
