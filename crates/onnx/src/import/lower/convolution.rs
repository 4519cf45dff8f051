//! Convolutions whose pads are to be worked out.

use super::{Importer, Lowered, fixed};
use crate::graph::{Attribute, Dim, FileNode, GraphError};

/// Pads before and after each axis.
#[derive(Clone)]
pub(super) struct Sides {
    pub given: Vec<(usize, usize)>,
    /// What rounding up adds after them.
    extra: Vec<usize>,
}

impl Sides {
    /// As the attribute `pads` has them: those before, then those after.
    pub fn pads(&self) -> Vec<usize> {
        let before = self.given.iter().map(|pads| pads.0);
        let after = self.given.iter().zip(&self.extra);
        before
            .chain(after.map(|(pads, extra)| pads.1 + extra))
            .collect()
    }

    pub fn without_given(&self) -> Self {
        Self {
            given: vec![(0, 0); self.given.len()],
            extra: self.extra.clone(),
        }
    }

    pub fn none(&self) -> Self {
        Self {
            given: vec![(0, 0); self.given.len()],
            extra: vec![0; self.extra.len()],
        }
    }
}

/// How a window moves over an image.
#[derive(Clone)]
pub(super) struct Spatial {
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    pub sides: Sides,
}

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

impl Spatial {
    /// Of a window of `kernel` over `sides`.
    pub fn read(node: &FileNode, sides: &[usize], kernel: &[usize]) -> Result<Self, GraphError> {
        let rank = kernel.len();
        let strides = per_axis(node, "strides", rank)?;
        let dilations = per_axis(node, "dilations", rank)?;
        if sides.iter().chain(kernel).any(|&side| side > MAX_SIDE) {
            return Err(node.error("its image or its window is too large"));
        }
        let given = match node.string("auto_pad").unwrap_or("NOTSET") {
            "NOTSET" => written(node, rank)?,
            "VALID" => vec![(0, 0); rank],
            mode @ ("SAME_UPPER" | "SAME_LOWER") => (0..rank)
                .map(|axis| {
                    // As many outputs as there are strides in the image.
                    let outputs = sides[axis].div_ceil(strides[axis]);
                    let reach = dilations[axis] * (kernel[axis] - 1) + 1;
                    let covered = outputs.saturating_sub(1) * strides[axis] + reach;
                    halves(covered.saturating_sub(sides[axis]), mode == "SAME_UPPER")
                })
                .collect(),
            other => return Err(node.error(format!("auto_pad {other} is not supported"))),
        };
        let extra = vec![0; rank];
        Ok(Self {
            strides,
            dilations,
            sides: Sides { given, extra },
        })
    }

    /// Lets a last window reach over the end, where it begins before.
    pub fn round_up(&mut self, sides: &[usize], kernel: &[usize]) {
        for axis in 0..kernel.len() {
            let (before, after) = self.sides.given[axis];
            let reach = self.dilations[axis] * (kernel[axis] - 1) + 1;
            let stride = self.strides[axis];
            let room = (sides[axis] + before + after).saturating_sub(reach);
            let missing = room.next_multiple_of(stride) - room;
            let last = room.next_multiple_of(stride);
            if missing > 0 && last < sides[axis] + before {
                self.sides.extra[axis] = missing;
            }
        }
    }
}

/// The attribute `pads`.
fn written(node: &FileNode, rank: usize) -> Result<Vec<(usize, usize)>, GraphError> {
    let Some(values) = node.ints("pads") else {
        return Ok(vec![(0, 0); rank]);
    };
    let values: Option<Vec<usize>> = values
        .iter()
        .map(|&v| usize::try_from(v).ok().filter(|&v| v <= MAX_SIDE))
        .collect();
    let values = values.filter(|values| values.len() == 2 * rank);
    let values = values.ok_or_else(|| node.error(format!("pads do not fit {rank} axes")))?;
    Ok((0..rank)
        .map(|axis| (values[axis], values[axis + rank]))
        .collect())
}

/// `total` as pads before and after; the odd one comes after, or before.
fn halves(total: usize, after: bool) -> (usize, usize) {
    let (less, more) = (total / 2, total - total / 2);
    if after { (less, more) } else { (more, less) }
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
    let spatial = Spatial::read(node, &sides, &kernel)?;
    let mut plain = node.clone();
    plain.attributes.remove("auto_pad");
    set(&mut plain, "pads", spatial.sides.pads().into_iter());
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
    let mut beyond = match node.ints("output_padding") {
        Some(given) if given.len() == rank => given
            .iter()
            .map(|&pad| usize::try_from(pad).ok().filter(|&pad| pad <= MAX_SIDE))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| node.error("output_padding has a negative entry"))?,
        _ => vec![0; rank],
    };
    let mut pads = vec![0; 2 * rank];
    for axis in 0..rank {
        let reach = dilations[axis]
            .saturating_mul(kernel[axis] - 1)
            .saturating_add(1);
        let full = sides[axis]
            .saturating_sub(1)
            .saturating_mul(strides[axis])
            .saturating_add(reach)
            .saturating_add(beyond[axis]);
        if outputs[axis] > full.saturating_add(strides[axis].max(dilations[axis])) {
            let (want, most) = (outputs[axis], full);
            return Err(node.error(format!("output_shape asks for {want} of {most} positions")));
        }
        beyond[axis] += outputs[axis].saturating_sub(full);
        let total = full.saturating_sub(outputs[axis]);
        (pads[axis], pads[axis + rank]) = halves(total, mode == "SAME_UPPER");
    }
    set(&mut plain, "pads", pads.into_iter());
    set(&mut plain, "output_padding", beyond.into_iter());
    importer.copy(&plain).map(|()| None)
}
