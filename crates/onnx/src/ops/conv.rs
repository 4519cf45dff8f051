//! Convolutions. A convolution and the transposed one with the same kernel are each other's adjoint,
//! and ONNX lays the kernel out so that the same tensor serves both.

use super::{Cotangents, Product, Types, describe, f32_of, single};
use crate::conv_geometry::{ConvGeometry, each, pads};
use crate::graph::{Attribute, Dim, Graph, GraphError, Node, Value};
use crate::op::Op;

/// The geometry of a convolution, one for each spatial axis, from the shape of its `weight` and its
/// attributes.
///
/// # Errors
/// When an attribute is not supported or does not fit.
pub fn conv_geometry(node: &Node, weight: &[Dim]) -> Result<Vec<ConvGeometry>, GraphError> {
    if node.string("auto_pad").is_some_and(|mode| mode != "NOTSET") {
        return Err(node.error("auto_pad is not supported, write the pads out"));
    }
    if node.ints("output_shape").is_some() {
        return Err(node.error("output_shape is not supported, write the pads out"));
    }
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
    let list = |name: &str, default: usize, length: usize| match node.ints(name) {
        None => Ok(vec![default; length]),
        Some(values) if values.len() == length => values
            .iter()
            .map(|&v| {
                usize::try_from(v).map_err(|_| node.error(format!("{name} has a negative entry")))
            })
            .collect(),
        Some(values) => Err(node.error(format!(
            "{name} has {} entries, expected {length}",
            values.len()
        ))),
    };
    let pads = list("pads", 0, 2 * spatial)?;
    let strides = list("strides", 1, spatial)?;
    let dilations = list("dilations", 1, spatial)?;
    let output_padding = list("output_padding", 0, spatial)?;
    let axis = |(axis, &kernel): (usize, &usize)| ConvGeometry {
        kernel,
        stride: strides[axis],
        dilation: dilations[axis],
        pads: [pads[axis], pads[axis + spatial]],
        output_padding: output_padding[axis],
    };
    Ok(kernel.iter().enumerate().map(axis).collect())
}

fn groups(node: &Node) -> usize {
    usize::try_from(node.int("group", 1)).unwrap_or(1).max(1)
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

pub(super) fn conv_shape(graph: &Graph, node: &Node) -> Types {
    let (rows, channels, sizes, weight) = convolved(graph, node)?;
    let axes = conv_geometry(node, weight)?;
    let (Some(&filters), Some(&Dim::Fixed(per_group))) = (weight.first(), weight.get(1)) else {
        return Err(node.error("the kernel has no fixed size"));
    };
    if per_group.checked_mul(groups(node)) != Some(channels) {
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

pub(super) fn conv_transpose_shape(graph: &Graph, node: &Node) -> Types {
    let (rows, channels, sizes, weight) = convolved(graph, node)?;
    let axes = conv_geometry(node, weight)?;
    let (Some(&Dim::Fixed(inputs)), Some(&Dim::Fixed(per_group))) = (weight.first(), weight.get(1))
    else {
        return Err(node.error("the kernel has no fixed size"));
    };
    if inputs != channels {
        return Err(node.error(format!(
            "the kernel reads {inputs} channels, the input has {channels}"
        )));
    }
    let filters = per_group.saturating_mul(groups(node));
    let mut shape = vec![rows, Dim::Fixed(filters)];
    for (axis, &size) in axes.iter().zip(&sizes) {
        let output = axis.transposed_output(size);
        let output = output.ok_or_else(|| node.error("the pads cut everything away"))?;
        shape.push(Dim::Fixed(output));
    }
    Ok(f32_of(shape))
}

fn ints(values: &[usize]) -> Attribute {
    Attribute::Ints(values.iter().map(|&v| v as i64).collect())
}

/// Kernel, strides and pads as attributes.
pub(crate) fn window_attributes(axes: &[ConvGeometry]) -> [(&'static str, Attribute); 3] {
    [
        ("kernel_shape", ints(&each(axes, |axis| axis.kernel))),
        ("strides", ints(&each(axes, |axis| axis.stride))),
        ("pads", ints(&pads(axes))),
    ]
}

/// The attributes of a convolution in so many groups; `output_padding` is not among them.
pub(crate) fn attributes(axes: &[ConvGeometry], groups: usize) -> [(&'static str, Attribute); 5] {
    let [kernel, strides, pads] = window_attributes(axes);
    [
        kernel,
        strides,
        pads,
        ("dilations", ints(&each(axes, |axis| axis.dilation))),
        ("group", Attribute::Int(groups as i64)),
    ]
}

fn adjoint(
    graph: &mut Graph,
    node: &Node,
    op: Op,
    cotangent: &Value,
    attributes: Vec<(&'static str, Attribute)>,
) -> Product {
    let name = graph.fresh(op.name());
    let output = Value::new(&name);
    graph.append(Node {
        name,
        op,
        inputs: vec![Some(cotangent.clone()), Some(node.input(1)?.clone())],
        outputs: vec![output.clone()],
        attributes: attributes
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    })?;
    Ok(Some(output))
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
) -> Product {
    only_input(node, position)?;
    let cotangent = graph.expand_like(&single(node, cotangents)?, node.output(0)?)?;
    let axes = conv_geometry(node, graph.shape(node.input(1)?)?)?;
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
    let mut attributes = attributes(&axes, groups(node)).to_vec();
    if left_over.iter().any(|&zeros| zeros != 0) {
        attributes.push(("output_padding", ints(&left_over)));
    }
    adjoint(graph, node, Op::ConvTranspose, &cotangent, attributes)
}

pub(super) fn conv_transpose_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    position: usize,
) -> Product {
    only_input(node, position)?;
    let cotangent = graph.expand_like(&single(node, cotangents)?, node.output(0)?)?;
    let axes = conv_geometry(node, graph.shape(node.input(1)?)?)?;
    adjoint(
        graph,
        node,
        Op::Conv,
        &cotangent,
        attributes(&axes, groups(node)).to_vec(),
    )
}
