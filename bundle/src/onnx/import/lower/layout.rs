//! What moves elements and computes nothing.

use super::{Importer, Lowered, Size, broadcast_sizes, image_sizes};
use crate::onnx::graph::{Dim, Node};
use crate::onnx::ops::normalize_axis;

/// To where broadcasting cannot tell, a dimension of the batch stays what it is.
pub(super) fn expand(importer: &mut Importer, node: &Node) -> Lowered {
    let input = importer.input(node, 0)?;
    let sizes = importer
        .ints(node, 1)?
        .ok_or_else(|| node.error("it has no shape"))?;
    let sizes: Vec<i64> = broadcast_sizes(sizes).collect();
    let sizes = importer.graph.int_list(&sizes);
    importer
        .graph
        .apply("Expand", &[&input, &sizes], [])
        .map(Some)
}

pub(super) fn reshape(importer: &mut Importer, node: &Node) -> Lowered {
    let input = importer.input(node, 0)?;
    let sizes = importer
        .ints(node, 1)?
        .ok_or_else(|| node.error("it has no shape"))?;
    let present = importer.graph.shape(&input)?.to_vec();
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
    importer.graph.reshape(&input, &sizes).map(Some)
}

/// Channels become squares of `blocksize` positions.
pub(super) fn depth_to_space(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let [channels, height, width] = image_sizes(importer, node, &x)?;
    let block = usize::try_from(node.int("blocksize", 0)).unwrap_or_default();
    let square = block.checked_mul(block).filter(|&square| square > 0);
    let square = square.filter(|&square| channels.is_multiple_of(square));
    let left = channels
        / square.ok_or_else(|| {
            node.error(format!(
                "{channels} channels make no squares of side {block}"
            ))
        })?;
    let (sizes, order) = if node.string("mode") == Some("CRD") {
        ([left, block, block], [0, 1, 4, 2, 5, 3])
    } else {
        ([block, block, left], [0, 3, 4, 1, 5, 2])
    };
    let sizes = [&[0], &sizes[..], &[height, width]].concat();
    let sizes: Vec<i64> = sizes.into_iter().map(|size| size as i64).collect();
    let sizes = [&[0, sizes[1], sizes[2], sizes[3]], &sizes[4..]].concat();
    let graph = &mut importer.graph;
    let split = graph.reshape(&x, &sizes)?;
    let moved = graph.transpose(&split, &order)?;
    let sizes = [0, left, height * block, width * block].map(|size| size as i64);
    graph.reshape(&moved, &sizes).map(Some)
}

/// Equal parts need not be written out.
pub(super) fn split(importer: &mut Importer, node: &Node) -> Lowered {
    let x = importer.input(node, 0)?;
    let shape = importer.graph.shape(&x)?;
    let axis = normalize_axis(node, node.int("axis", 0), shape.len())?;
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
            let starts = (0..node.outputs.len()).map(|index| (index * part).min(size));
            starts.map(|start| part.min(size - start)).collect()
        }
    };
    let parts = importer.graph.split(&x, axis, &sizes)?;
    let parts = node.outputs.iter().cloned().zip(parts);
    importer.names.extend(parts);
    Ok(None)
}

pub(super) fn pad(importer: &mut Importer, node: &Node) -> Lowered {
    if node.optional_input(3).is_some() {
        return Err(node.error("only pads of all axes are supported"));
    }
    importer.copy(node).map(|()| None)
}
