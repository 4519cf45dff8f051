//! Pools as convolutions of each channel for itself.

use std::num::NonZeroUsize;

use super::convolution::{self, Moves};
use super::{FileNode, Importer, Lowered};
use crate::conv_geometry::{ConvGeometry, each, pads};
use crate::graph::attribute::attributes;
use crate::graph::{Convolution, Dim, GraphError, Op, Reduction, Value};
use crate::tensor::Tensor;

attributes! {
    pub(in crate::import) struct Window {
        auto_pad: Option<String>,
        ceil_mode: bool = false,
        count_include_pad: bool = false,
        dilations: Option<Vec<usize>>,
        kernel_shape: Vec<usize>,
        pads: Option<Vec<usize>>,
        storage_order: bool = false,
        strides: Option<Vec<usize>>,
    }
}

/// A pool's input with its channels, and how its window moves.
struct Pool {
    x: Value,
    channels: usize,
    /// With the pads that the node gives.
    axes: Vec<ConvGeometry>,
    /// What rounding up adds after the pads of each axis.
    extra: Vec<usize>,
}

fn read(importer: &mut Importer, node: &FileNode, window: &Window) -> Result<Pool, GraphError> {
    if window.storage_order() || node.outputs.len() > 1 {
        return Err(node.error("indices are not supported"));
    }
    let x = importer.input(node, 0)?;
    let kernel = &window.kernel_shape;
    if kernel.contains(&0) {
        return Err(node.error("kernel_shape has an entry below 1"));
    }
    let shape = importer.graph.shape(&x)?;
    let [_, Dim::Fixed(channels), sides @ ..] = shape else {
        return Err(node.error("its input is no batch of images"));
    };
    let channels = *channels;
    let sides = super::fixed(node, sides)?;
    if kernel.is_empty() || kernel.len() != sides.len() {
        return Err(node.error("kernel_shape does not fit the input"));
    }
    let moves = Moves {
        auto_pad: window.auto_pad.as_deref().unwrap_or("NOTSET"),
        pads: window.pads.as_deref(),
        strides: window.strides.as_deref(),
        dilations: window.dilations.as_deref(),
    };
    let axes = convolution::read(node, &moves, &sides, kernel)?;
    let ceil = window.ceil_mode();
    let extra = axes.iter().zip(&sides);
    let extra = extra.map(|(axis, &side)| {
        if ceil {
            convolution::round_up(axis, side)
        } else {
            0
        }
    });
    Ok(Pool {
        x,
        channels,
        extra: extra.collect(),
        axes,
    })
}

impl Pool {
    /// The axes with other pads, made of the pads that the node gives and of what rounding up adds.
    fn padded(&self, pads: fn([usize; 2], usize) -> [usize; 2]) -> Vec<ConvGeometry> {
        let axes = self.axes.iter().zip(&self.extra);
        axes.map(|(axis, &extra)| ConvGeometry {
            pads: pads(axis.pads, extra),
            ..*axis
        })
        .collect()
    }

    /// The axes with all pads.
    fn rounded_up(&self) -> Vec<ConvGeometry> {
        self.padded(|[before, after], extra| [before, after + extra])
    }

    /// The convolution along `axes` with the same `kernel`, outputs x window, for every channel.
    fn convolved(
        &self,
        importer: &mut Importer,
        node: &FileNode,
        x: &Value,
        axes: &[ConvGeometry],
        (outputs, kernel): (usize, &[f32]),
    ) -> Result<Value, GraphError> {
        let total = kernel.len().checked_mul(self.channels);
        importer.fill(node, total)?;
        let filters = self.channels.saturating_mul(outputs);
        let shape = [&[filters, 1], &each(axes, |axis| axis.kernel)[..]].concat();
        let weights = Tensor::new(shape, kernel.repeat(self.channels));
        let graph = &mut importer.graph;
        let weights = graph.weights(&format!("{}.window", node.name), weights);
        let channels = NonZeroUsize::new(self.channels);
        let channels = channels.ok_or_else(|| node.error("its input has no channels"))?;
        let convolution = Convolution::of(axes, channels);
        graph.apply(Op::Conv(convolution), &[x, &weights])
    }

    fn window(&self, node: &FileNode) -> Result<usize, GraphError> {
        let window = self
            .axes
            .iter()
            .try_fold(1_usize, |n, axis| n.checked_mul(axis.kernel));
        let window = window.filter(|&window| window <= MAX_WINDOW);
        window.ok_or_else(|| node.error("its window is too large"))
    }
}

/// The pads of `axes` as the operator Pad has them, none of which are along rows and channels.
fn batch_pads(axes: &[ConvGeometry]) -> Vec<i64> {
    let all = pads(axes);
    let (before, after) = all.split_at(axes.len());
    let list = [&[0, 0], before, &[0, 0], after].concat();
    list.into_iter().map(|pad| pad as i64).collect()
}

/// Positions of a pool's window.
const MAX_WINDOW: usize = 1 << 16;
/// Positions of a window of which each is an output of a convolution.
const MAX_COMPARED: usize = 1 << 8;
/// Less than any value, and zero times it is zero.
const LOWEST: f32 = -1e38;

pub(super) fn average_pool(
    importer: &mut Importer,
    node: &FileNode,
    attributes: &Window,
) -> Lowered {
    let pool = read(importer, node, attributes)?;
    let window = pool.window(node)?;
    let counts_pads = attributes.count_include_pad();
    let axes = pool.rounded_up();
    let share = vec![1.0 / window as f32; window];
    let sum = pool.convolved(importer, node, &pool.x, &axes, (1, &share))?;
    if pads(&axes).iter().all(|&pad| pad == 0) {
        return Ok(Some(sum));
    }
    // What a window that reaches over the border has of it: the rest is left out of the mean. What
    // rounding up adds counts never.
    let shape = importer.graph.shape(&pool.x)?[1..].to_vec();
    let mut ones = vec![Dim::Fixed(1), Dim::Fixed(1)];
    ones.extend(&shape[1..]);
    let lengths = super::fixed(node, &ones)?;
    importer.fill(
        node,
        lengths
            .iter()
            .try_fold(1_usize, |n, &side| n.checked_mul(side)),
    )?;
    let count = lengths.iter().product();
    let name = format!("{}.ones", node.name);
    let ones = importer
        .graph
        .weights(&name, Tensor::new(lengths, vec![1.0; count]));
    let alone = Pool {
        x: ones.clone(),
        channels: 1,
        axes: pool.axes.clone(),
        extra: pool.extra.clone(),
    };
    let (covered, rest) = if counts_pads {
        let pads = batch_pads(&pool.axes);
        let pads = importer.graph.int_list(&pads);
        let one = importer.graph.scalar(1.0);
        let padded = importer.graph.apply(Op::Pad, &[&ones, &pads, &one])?;
        (padded, pool.padded(|_, extra| [0, extra]))
    } else {
        (ones, axes)
    };
    let covered = alone.convolved(importer, node, &covered, &rest, (1, &share))?;
    importer.graph.div(&sum, &covered).map(Some)
}

/// Each position of the window is an output of a convolution, and the largest of them is taken.
pub(super) fn max_pool(importer: &mut Importer, node: &FileNode, attributes: &Window) -> Lowered {
    let pool = read(importer, node, attributes)?;
    let window = pool.window(node)?;
    if window > MAX_COMPARED {
        return Err(node.error(format!("its window has more than {MAX_COMPARED} positions")));
    }
    let axes = pool.rounded_up();
    let mut x = pool.x.clone();
    let pads = batch_pads(&axes);
    if pads.iter().any(|&pad| pad != 0) {
        let pads = importer.graph.int_list(&pads);
        let lowest = importer.graph.scalar(LOWEST);
        x = importer.graph.apply(Op::Pad, &[&x, &pads, &lowest])?;
    }
    let mut one_each = vec![0.0; window * window];
    for position in 0..window {
        one_each[position * (window + 1)] = 1.0;
    }
    let none = pool.padded(|_, _| [0; 2]);
    let apart = pool.convolved(importer, node, &x, &none, (window, &one_each))?;
    let shape = importer.graph.shape(&apart)?.to_vec();
    let mut split = vec![shape[0], Dim::Fixed(pool.channels), Dim::Fixed(window)];
    split.extend(&shape[2..]);
    let split = importer.reshaped(&apart, &split)?;
    let largest = Op::ReduceMax(Reduction::along(&[2], false));
    importer.graph.apply(largest, &[&split]).map(Some)
}
