//! Convolutions. A convolution and the transposed one with the same kernel are each other's adjoint,
//! and ONNX lays the kernel out so that the same tensor serves both.

use std::num::NonZeroUsize;

use super::{Cotangents, Op, Product, Types, describe, f32_of, single};
use crate::conv_geometry::{ConvGeometry, each, pads};
use crate::graph::attribute::attributes;
use crate::graph::{Dim, Graph, GraphError, Node, Value};

attributes! {
    /// How the kernel of a convolution moves, one entry an axis, and how its channels are grouped.
    pub struct Convolution {
        /// Taps of the kernel, which its weights say, too.
        kernel_shape: Option<Vec<usize>>,
        /// Steps of the kernel, or 1.
        strides: Option<Vec<usize>>,
        /// Zeros before each axis, then those after, or none.
        pads: Option<Vec<usize>>,
        /// From a tap to the next, or 1.
        dilations: Option<Vec<usize>>,
        /// Groups of channels, each of which has filters of its own.
        group: NonZeroUsize = NonZeroUsize::MIN,
        /// Zeros that a transposed convolution appends, or none.
        output_padding: Option<Vec<usize>>,
    }
}

impl Convolution {
    /// The attributes that say `axes`, but for dilations and `output_padding`.
    pub(crate) fn window(axes: &[ConvGeometry]) -> Self {
        Self {
            kernel_shape: Some(each(axes, |axis| axis.kernel)),
            strides: Some(each(axes, |axis| axis.stride)),
            pads: Some(pads(axes)),
            ..Self::default()
        }
    }

    /// The attributes of a convolution in so many groups; `output_padding` is not among them.
    pub(crate) fn of(axes: &[ConvGeometry], group: NonZeroUsize) -> Self {
        Self {
            dilations: Some(each(axes, |axis| axis.dilation)),
            group: Some(group),
            ..Self::window(axes)
        }
    }

    /// The geometry of `node`, a convolution, along each spatial axis, from the shape of its `weight`.
    ///
    /// # Errors
    /// When an attribute does not fit the weight.
    pub fn geometry(&self, node: &Node, weight: &[Dim]) -> Result<Vec<ConvGeometry>, GraphError> {
        let kernel: Vec<usize> = weight
            .iter()
            .skip(2)
            .map(|dim| match dim {
                Dim::Fixed(0) => Err(node.error("the kernel is empty")),
                Dim::Fixed(size) => Ok(*size),
                Dim::Batch => Err(node.error("the kernel has no fixed size")),
            })
            .collect::<Result<_, _>>()?;
        let spatial = kernel.len();
        let list = |name: &str, given: &Option<Vec<usize>>, default: usize, length: usize| {
            let values = given.clone().unwrap_or_else(|| vec![default; length]);
            if values.len() == length {
                return Ok(values);
            }
            let entries = values.len();
            Err(node.error(format!("{name} has {entries} entries, expected {length}")))
        };
        let pads = list("pads", &self.pads, 0, 2 * spatial)?;
        let strides = list("strides", &self.strides, 1, spatial)?;
        let dilations = list("dilations", &self.dilations, 1, spatial)?;
        let output_padding = list("output_padding", &self.output_padding, 0, spatial)?;
        let axis = |(axis, &kernel): (usize, &usize)| ConvGeometry {
            kernel,
            stride: strides[axis],
            dilation: dilations[axis],
            pads: [pads[axis], pads[axis + spatial]],
            output_padding: output_padding[axis],
        };
        Ok(kernel.iter().enumerate().map(axis).collect())
    }
}

/// Splits a convolution's input shape into rows, channels and spatial sizes.
fn convolved<'a>(
    graph: &'a Graph,
    node: &Node,
) -> Result<(Dim, usize, Vec<usize>, &'a [Dim]), GraphError> {
    let (input, weight) = (graph.shape(node.input(0)?)?, graph.shape(node.input(1)?)?);
    let misfit = || {
        node.error(format!(
            "input {} does not fit the kernel {}",
            describe(input),
            describe(weight)
        ))
    };
    let [rows, Dim::Fixed(channels), spatial @ ..] = input else {
        return Err(misfit());
    };
    let sizes = spatial
        .iter()
        .map(|dim| {
            if let Dim::Fixed(size) = dim {
                Ok(*size)
            } else {
                Err(misfit())
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    if sizes.len() + 2 != weight.len() {
        return Err(misfit());
    }
    Ok((*rows, *channels, sizes, weight))
}

pub(super) fn conv_shape(graph: &Graph, node: &Node, attributes: &Convolution) -> Types {
    let (rows, channels, sizes, weight) = convolved(graph, node)?;
    let axes = attributes.geometry(node, weight)?;
    let (Some(&filters), Some(&Dim::Fixed(per_group))) = (weight.first(), weight.get(1)) else {
        return Err(node.error("the kernel has no fixed size"));
    };
    if per_group.checked_mul(attributes.group().get()) != Some(channels) {
        return Err(node.error(format!(
            "the kernel reads {per_group} channels, the input has {channels}"
        )));
    }
    let mut shape = vec![rows, filters];
    for (axis, &size) in axes.iter().zip(&sizes) {
        let output = axis.output(size);
        let output = output.ok_or_else(|| node.error("the kernel is larger than the input"))?;
        shape.push(Dim::Fixed(output));
    }
    Ok(f32_of(shape))
}

pub(super) fn conv_transpose_shape(graph: &Graph, node: &Node, attributes: &Convolution) -> Types {
    let (rows, channels, sizes, weight) = convolved(graph, node)?;
    let axes = attributes.geometry(node, weight)?;
    let (Some(&Dim::Fixed(inputs)), Some(&Dim::Fixed(per_group))) = (weight.first(), weight.get(1))
    else {
        return Err(node.error("the kernel has no fixed size"));
    };
    if inputs != channels {
        return Err(node.error(format!(
            "the kernel reads {inputs} channels, the input has {channels}"
        )));
    }
    let filters = per_group.saturating_mul(attributes.group().get());
    let mut shape = vec![rows, Dim::Fixed(filters)];
    for (axis, &size) in axes.iter().zip(&sizes) {
        let output = axis.transposed_output(size);
        let output = output.ok_or_else(|| node.error("the pads cut everything away"))?;
        shape.push(Dim::Fixed(output));
    }
    Ok(f32_of(shape))
}

fn adjoint(graph: &mut Graph, node: &Node, cotangent: &Value, op: Op) -> Product {
    graph.apply(op, &[cotangent, node.input(1)?]).map(Some)
}

fn only_input(node: &Node, position: usize) -> Result<(), GraphError> {
    if position == 0 {
        Ok(())
    } else {
        Err(node.error("its kernel or bias depends on the variable, which has no rule"))
    }
}

pub(super) fn conv_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    position: usize,
    attributes: &Convolution,
) -> Product {
    only_input(node, position)?;
    let cotangent = graph.expand_like(&single(node, cotangents)?, node.output(0)?)?;
    let axes = attributes.geometry(node, graph.shape(node.input(1)?)?)?;
    let (input, output) = (graph.shape(node.input(0)?)?, graph.shape(node.output(0)?)?);
    // What a stride left over at the far side must come back as zeros.
    let mut left_over = Vec::with_capacity(axes.len());
    for (index, axis) in axes.iter().enumerate() {
        let (Dim::Fixed(size), Dim::Fixed(steps)) = (input[index + 2], output[index + 2]) else {
            return Err(node.error("a spatial size is not fixed"));
        };
        let covered = (steps - 1) * axis.stride + axis.reach();
        left_over.push(size + axis.pads[0] + axis.pads[1] - covered);
    }
    let pads_out = left_over.iter().any(|&zeros| zeros != 0);
    let transposed = Convolution {
        output_padding: pads_out.then_some(left_over),
        ..Convolution::of(&axes, attributes.group())
    };
    adjoint(graph, node, &cotangent, Op::ConvTranspose(transposed))
}

pub(super) fn conv_transpose_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    position: usize,
    attributes: &Convolution,
) -> Product {
    only_input(node, position)?;
    let cotangent = graph.expand_like(&single(node, cotangents)?, node.output(0)?)?;
    let axes = attributes.geometry(node, graph.shape(node.input(1)?)?)?;
    let plain = Convolution::of(&axes, attributes.group());
    adjoint(graph, node, &cotangent, Op::Conv(plain))
}
