//! Convolutions whose pads are to be worked out.

use std::num::NonZeroUsize;

use super::{FileNode, Importer, Lowered, fixed};
use crate::conv_geometry::{ConvGeometry, each, pads};
use crate::graph::attribute::attributes;
use crate::graph::{self, Dim, GraphError, Op};

attributes! {
    pub(in crate::import) struct Convolution {
        auto_pad: Option<String>,
        dilations: Option<Vec<usize>>,
        group: Option<NonZeroUsize>,
        kernel_shape: Option<Vec<usize>>,
        output_padding: Option<Vec<usize>>,
        output_shape: Option<Vec<usize>>,
        pads: Option<Vec<usize>>,
        strides: Option<Vec<usize>>,
    }
}

/// How a window moves, as a file says it.
pub(super) struct Moves<'a> {
    pub(super) auto_pad: &'a str,
    pub(super) pads: Option<&'a [usize]>,
    pub(super) strides: Option<&'a [usize]>,
    pub(super) dilations: Option<&'a [usize]>,
}

/// A list of positive integers, one an axis.
fn per_axis(
    node: &FileNode,
    name: &str,
    values: Option<&[usize]>,
    rank: usize,
) -> Result<Vec<usize>, GraphError> {
    let values = values.map_or_else(|| vec![1; rank], <[usize]>::to_vec);
    if values.len() != rank || values.iter().any(|v| !(1..=MAX_SIDE).contains(v)) {
        return Err(node.error(format!("{name} does not fit {rank} axes")));
    }
    Ok(values)
}

/// Rows or columns of an image, with pads.
const MAX_SIDE: usize = 1 << 20;

/// The geometry of a window of `kernel` that moves over an image of `sides`, one an axis.
pub(super) fn read(
    node: &FileNode,
    moves: &Moves,
    sides: &[usize],
    kernel: &[usize],
) -> Result<Vec<ConvGeometry>, GraphError> {
    let rank = kernel.len();
    let strides = per_axis(node, "strides", moves.strides, rank)?;
    let dilations = per_axis(node, "dilations", moves.dilations, rank)?;
    if sides.iter().chain(kernel).any(|&side| side > MAX_SIDE) {
        return Err(node.error("its image or its window is too large"));
    }
    let mut axes: Vec<_> = (0..rank)
        .map(|axis| ConvGeometry {
            dilation: dilations[axis],
            ..ConvGeometry::new(kernel[axis], strides[axis], 0)
        })
        .collect();
    match moves.auto_pad {
        "NOTSET" => {
            for (axis, pads) in axes.iter_mut().zip(written(node, moves.pads, rank)?) {
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

/// The attribute `pads`, an axis after the other.
fn written(
    node: &FileNode,
    pads: Option<&[usize]>,
    rank: usize,
) -> Result<Vec<[usize; 2]>, GraphError> {
    let Some(pads) = pads else {
        return Ok(vec![[0; 2]; rank]);
    };
    if pads.len() != 2 * rank || pads.iter().any(|&pad| pad > MAX_SIDE) {
        return Err(node.error(format!("pads do not fit {rank} axes")));
    }
    let axes = 0..rank;
    Ok(axes.map(|axis| [pads[axis], pads[axis + rank]]).collect())
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

impl Convolution {
    fn moves(&self) -> Moves<'_> {
        Moves {
            auto_pad: self.auto_pad.as_deref().unwrap_or("NOTSET"),
            pads: self.pads.as_deref(),
            strides: self.strides.as_deref(),
            dilations: self.dilations.as_deref(),
        }
    }

    /// The same of a `kernel`, without what is to be worked out.
    fn plain(&self, kernel: Vec<usize>) -> graph::Convolution {
        graph::Convolution {
            kernel_shape: Some(kernel),
            strides: self.strides.clone(),
            pads: self.pads.clone(),
            dilations: self.dilations.clone(),
            group: self.group,
            output_padding: self.output_padding.clone(),
        }
    }
}

pub(super) fn conv(importer: &mut Importer, node: &FileNode, convolution: &Convolution) -> Lowered {
    let (sides, kernel) = sizes(importer, node)?;
    let axes = read(node, &convolution.moves(), &sides, &kernel)?;
    let plain = graph::Convolution {
        pads: Some(pads(&axes)),
        ..convolution.plain(kernel)
    };
    importer.copy(node, Op::Conv(plain)).map(|()| None)
}

/// Pads that are worked out make the output as many times as large as the stride says, or of
/// `output_shape`; where the kernel leaves some of that out, the rest is `output_padding`.
pub(super) fn conv_transpose(
    importer: &mut Importer,
    node: &FileNode,
    convolution: &Convolution,
) -> Lowered {
    let (sides, kernel) = sizes(importer, node)?;
    let rank = kernel.len();
    let mut plain = convolution.plain(kernel.clone());
    let moves = convolution.moves();
    let strides = per_axis(node, "strides", moves.strides, rank)?;
    let dilations = per_axis(node, "dilations", moves.dilations, rank)?;
    let outputs: Vec<usize> = match (&convolution.output_shape, moves.auto_pad) {
        (Some(given), _) => {
            // Older exporters write batch and channels too.
            let spatial = given.len().checked_sub(rank).map(|first| &given[first..]);
            let spatial = spatial.ok_or_else(|| node.error("output_shape does not fit"))?;
            spatial.to_vec()
        }
        (None, "SAME_UPPER" | "SAME_LOWER") => {
            let pairs = sides.iter().zip(&strides);
            pairs
                .map(|(&side, &stride)| side.saturating_mul(stride))
                .collect()
        }
        (None, "NOTSET") => {
            return importer.copy(node, Op::ConvTranspose(plain)).map(|()| None);
        }
        (None, "VALID") => {
            plain.pads = Some(vec![0; 2 * rank]);
            return importer.copy(node, Op::ConvTranspose(plain)).map(|()| None);
        }
        (None, other) => return Err(node.error(format!("auto_pad {other} is not supported"))),
    };
    let beyond = match &convolution.output_padding {
        Some(given) if given.len() == rank => given.clone(),
        _ => vec![0; rank],
    };
    if beyond.iter().any(|&pad| pad > MAX_SIDE) {
        return Err(node.error(format!("output_padding has an entry above {MAX_SIDE}")));
    }
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
        geometry.pads = halves(
            full.saturating_sub(outputs[axis]),
            moves.auto_pad == "SAME_UPPER",
        );
        axes.push(geometry);
    }
    plain.output_padding = Some(each(&axes, |axis| axis.output_padding));
    plain.pads = Some(pads(&axes));
    importer.copy(node, Op::ConvTranspose(plain)).map(|()| None)
}
