//! Convolutions whose pads are to be worked out.

use super::{Importer, Lowered, fixed};
use crate::conv_geometry::{ConvGeometry, pads};
use crate::graph::{Attribute, Dim, FileNode, GraphError};

/// A list of positive integers, one an axis.
fn per_axis(node: &FileNode, name: &str, rank: usize) -> Result<Vec<usize>, GraphError> {
    let Some(values) = node.ints(name) else {
        return Ok(vec![1; rank]);
    };
    let values: Option<Vec<usize>> = values
        .iter()
        .map(|&v| {
            usize::try_from(v)
                .ok()
                .filter(|v| (1..=MAX_SIDE).contains(v))
        })
        .collect();
    values
        .filter(|values| values.len() == rank)
        .ok_or_else(|| node.error(format!("{name} does not fit {rank} axes")))
}

/// Rows or columns of an image, with pads.
const MAX_SIDE: usize = 1 << 20;

/// The geometry of a window of `kernel` that moves over an image of `sides`, one an axis.
pub(super) fn read(
    node: &FileNode,
    sides: &[usize],
    kernel: &[usize],
) -> Result<Vec<ConvGeometry>, GraphError> {
    let rank = kernel.len();
    let strides = per_axis(node, "strides", rank)?;
    let dilations = per_axis(node, "dilations", rank)?;
    if sides.iter().chain(kernel).any(|&side| side > MAX_SIDE) {
        return Err(node.error("its image or its window is too large"));
    }
    let mut axes: Vec<_> = (0..rank)
        .map(|axis| ConvGeometry {
            dilation: dilations[axis],
            ..ConvGeometry::new(kernel[axis], strides[axis], 0)
        })
        .collect();
    match node.string("auto_pad").unwrap_or("NOTSET") {
        "NOTSET" => {
            for (axis, pads) in axes.iter_mut().zip(written(node, rank)?) {
                axis.pads = pads;
            }
        }
        "VALID" => (),
        mode @ ("SAME_UPPER" | "SAME_LOWER") => {
            for (axis, &side) in axes.iter_mut().zip(sides) {
                // As many outputs as there are strides in the image.
                let outputs = side.div_ceil(axis.stride);
                let covered = outputs.saturating_sub(1) * axis.stride + axis.reach();
                axis.pads = halves(covered.saturating_sub(side), mode == "SAME_UPPER");
            }
        }
        other => return Err(node.error(format!("auto_pad {other} is not supported"))),
    }
    Ok(axes)
}

/// Zeros after `side` positions, beside the pads, with which a last window may reach over the end
/// where it begins before it.
pub(super) fn round_up(axis: &ConvGeometry, side: usize) -> usize {
    let [before, after] = axis.pads;
    let room = (side + before + after).saturating_sub(axis.reach());
    let last = room.next_multiple_of(axis.stride);
    if last < side + before { last - room } else { 0 }
}

/// The attribute `pads`.
fn written(node: &FileNode, rank: usize) -> Result<Vec<[usize; 2]>, GraphError> {
    let Some(values) = node.ints("pads") else {
        return Ok(vec![[0; 2]; rank]);
    };
    let values: Option<Vec<usize>> = values
        .iter()
        .map(|&v| usize::try_from(v).ok().filter(|&v| v <= MAX_SIDE))
        .collect();
    let values = values.filter(|values| values.len() == 2 * rank);
    let values = values.ok_or_else(|| node.error(format!("pads do not fit {rank} axes")))?;
    Ok((0..rank)
        .map(|axis| [values[axis], values[axis + rank]])
        .collect())
}

/// `total` as pads before and after; the odd one comes after, or before.
fn halves(total: usize, after: bool) -> [usize; 2] {
    let (less, more) = (total / 2, total - total / 2);
    if after { [less, more] } else { [more, less] }
}

/// Spatial sizes of a convolution's input and kernel.
fn sizes(importer: &mut Importer, node: &FileNode) -> Result<(Vec<usize>, Vec<usize>), GraphError> {
    let (x, weight) = (importer.input(node, 0)?, importer.input(node, 1)?);
    let spatial = |shape: &[Dim]| fixed(node, shape.get(2..).unwrap_or_default());
    let sides = spatial(importer.graph.shape(&x)?)?;
    let kernel = spatial(importer.graph.shape(&weight)?)?;
    if sides.len() != kernel.len() || kernel.contains(&0) {
        return Err(node.error("its kernel does not fit the input"));
    }
    Ok((sides, kernel))
}

fn set(node: &mut FileNode, name: &str, values: impl Iterator<Item = usize>) {
    let values = values.map(|v| v as i64).collect();
    node.attributes
        .insert(name.to_owned(), Attribute::Ints(values));
}

pub(super) fn conv(importer: &mut Importer, node: &FileNode) -> Lowered {
    let (sides, kernel) = sizes(importer, node)?;
    let axes = read(node, &sides, &kernel)?;
    let mut plain = node.clone();
    plain.attributes.remove("auto_pad");
    set(&mut plain, "pads", pads(&axes).into_iter());
    set(&mut plain, "kernel_shape", kernel.into_iter());
    importer.copy(&plain).map(|()| None)
}

/// Pads that are worked out make the output as many times as large as the stride says, or of
/// `output_shape`; where the kernel leaves some of that out, the rest is `output_padding`.
pub(super) fn conv_transpose(importer: &mut Importer, node: &FileNode) -> Lowered {
    let (sides, kernel) = sizes(importer, node)?;
    let rank = kernel.len();
    let mut plain = node.clone();
    plain.attributes.remove("auto_pad");
    plain.attributes.remove("output_shape");
    set(&mut plain, "kernel_shape", kernel.iter().copied());
    let mode = node.string("auto_pad").unwrap_or("NOTSET");
    let strides = per_axis(node, "strides", rank)?;
    let dilations = per_axis(node, "dilations", rank)?;
    let outputs: Vec<usize> = match (node.ints("output_shape"), mode) {
        (Some(_), _) => {
            // Older exporters write batch and channels too.
            let given = node.ints("output_shape").unwrap_or_default();
            let spatial = given
                .get(given.len().saturating_sub(rank)..)
                .unwrap_or_default();
            let sizes = spatial.iter().map(|&side| usize::try_from(side).ok());
            let sizes = sizes
                .collect::<Option<Vec<_>>>()
                .filter(|sizes| sizes.len() == rank);
            sizes.ok_or_else(|| node.error("output_shape does not fit"))?
        }
        (None, "SAME_UPPER" | "SAME_LOWER") => {
            let pairs = sides.iter().zip(&strides);
            pairs
                .map(|(&side, &stride)| side.saturating_mul(stride))
                .collect()
        }
        (None, "NOTSET") => return importer.copy(&plain).map(|()| None),
        (None, "VALID") => {
            set(&mut plain, "pads", vec![0; 2 * rank].into_iter());
            return importer.copy(&plain).map(|()| None);
        }
        (None, other) => return Err(node.error(format!("auto_pad {other} is not supported"))),
    };
    let beyond = match node.ints("output_padding") {
        Some(given) if given.len() == rank => given
            .iter()
            .map(|&pad| usize::try_from(pad).ok().filter(|&pad| pad <= MAX_SIDE))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| node.error("output_padding has a negative entry"))?,
        _ => vec![0; rank],
    };
    let mut axes = Vec::with_capacity(rank);
    for axis in 0..rank {
        let mut geometry = ConvGeometry {
            dilation: dilations[axis],
            output_padding: beyond[axis],
            ..ConvGeometry::new(kernel[axis], strides[axis], 0)
        };
        let full = geometry.full_output(sides[axis]);
        if outputs[axis] > full.saturating_add(geometry.stride.max(geometry.dilation)) {
            let (want, most) = (outputs[axis], full);
            return Err(node.error(format!("output_shape asks for {want} of {most} positions")));
        }
        geometry.output_padding += outputs[axis].saturating_sub(full);
        geometry.pads = halves(full.saturating_sub(outputs[axis]), mode == "SAME_UPPER");
        axes.push(geometry);
    }
    let output_padding = axes.iter().map(|axis| axis.output_padding);
    set(&mut plain, "pads", pads(&axes).into_iter());
    set(&mut plain, "output_padding", output_padding);
    importer.copy(&plain).map(|()| None)
}
