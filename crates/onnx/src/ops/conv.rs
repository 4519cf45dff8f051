//! Convolutions. A convolution and the transposed one with the same kernel are each other's adjoint,
//! and ONNX lays the kernel out so that the same tensor serves both.

use super::{Cotangents, Product, Types, describe, f32_of, single};
use crate::graph::{Attribute, Dim, Graph, GraphError, Node, Value};
use crate::op::Op;

/// Geometry of a convolution over `spatial` dimensions.
pub struct Window {
    kernel: Vec<usize>,
    /// Strides by axis.
    pub strides: Vec<usize>,
    /// Dilations by axis.
    pub dilations: Vec<usize>,
    /// Zeros before and after.
    pub pads: Vec<(usize, usize)>,
    /// Zeros that a transposed convolution appends to its output.
    pub output_padding: Vec<usize>,
    group: usize,
}

impl Window {
    /// Input positions from the first to the last that an output sees. Sizes saturate: what is
    /// larger than any input is refused by that.
    fn reach(&self, axis: usize) -> usize {
        let gaps = self.kernel[axis].saturating_sub(1);
        self.dilations[axis].saturating_mul(gaps).saturating_add(1)
    }

    /// Zeros on both sides.
    fn padding(&self, axis: usize) -> usize {
        let (before, after) = self.pads[axis];
        before.saturating_add(after)
    }
}

/// The window of a convolution with this `weight`, from its attributes.
///
/// # Errors
/// When an attribute is not supported or does not fit.
pub fn window(node: &Node, weight: &[Dim]) -> Result<Window, GraphError> {
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
    Ok(Window {
        strides: list("strides", 1, spatial)?,
        dilations: list("dilations", 1, spatial)?,
        pads: (0..spatial)
            .map(|axis| (pads[axis], pads[axis + spatial]))
            .collect(),
        output_padding: list("output_padding", 0, spatial)?,
        group: usize::try_from(node.int("group", 1)).unwrap_or(1).max(1),
        kernel,
    })
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
    let window = window(node, weight)?;
    let (Some(&filters), Some(&Dim::Fixed(per_group))) = (weight.first(), weight.get(1)) else {
        return Err(node.error("the kernel has no fixed size"));
    };
    if per_group.checked_mul(window.group) != Some(channels) {
        return Err(node.error(format!(
            "the kernel reads {per_group} channels, the input has {channels}"
        )));
    }
    let mut shape = vec![rows, filters];
    for (axis, &size) in sizes.iter().enumerate() {
        let room = size
            .saturating_add(window.padding(axis))
            .checked_sub(window.reach(axis))
            .ok_or_else(|| node.error("the kernel is larger than the input"))?;
        shape.push(Dim::Fixed(room / window.strides[axis].max(1) + 1));
    }
    Ok(f32_of(shape))
}

pub(super) fn conv_transpose_shape(graph: &Graph, node: &Node) -> Types {
    let (rows, channels, sizes, weight) = convolved(graph, node)?;
    let window = window(node, weight)?;
    let (Some(&Dim::Fixed(inputs)), Some(&Dim::Fixed(per_group))) = (weight.first(), weight.get(1))
    else {
        return Err(node.error("the kernel has no fixed size"));
    };
    if inputs != channels {
        return Err(node.error(format!(
            "the kernel reads {inputs} channels, the input has {channels}"
        )));
    }
    let filters = per_group.saturating_mul(window.group);
    let mut shape = vec![rows, Dim::Fixed(filters)];
    for (axis, &size) in sizes.iter().enumerate() {
        let full = size
            .saturating_sub(1)
            .saturating_mul(window.strides[axis])
            .saturating_add(window.reach(axis))
            .saturating_add(window.output_padding[axis]);
        shape.push(Dim::Fixed(
            full.checked_sub(window.padding(axis))
                .ok_or_else(|| node.error("the pads cut everything away"))?,
        ));
    }
    Ok(f32_of(shape))
}
fn attributes(window: &Window, output_padding: Option<Vec<i64>>) -> Vec<(String, Attribute)> {
    let ints = |values: &[usize]| Attribute::Ints(values.iter().map(|&v| v as i64).collect());
    let pads: Vec<usize> = window
        .pads
        .iter()
        .map(|pad| pad.0)
        .chain(window.pads.iter().map(|pad| pad.1))
        .collect();
    let mut list = vec![
        ("kernel_shape".to_owned(), ints(&window.kernel)),
        ("strides".to_owned(), ints(&window.strides)),
        ("dilations".to_owned(), ints(&window.dilations)),
        ("pads".to_owned(), ints(&pads)),
        ("group".to_owned(), Attribute::Int(window.group as i64)),
    ];
    if let Some(padding) = output_padding.filter(|padding| padding.iter().any(|&p| p != 0)) {
        list.push(("output_padding".to_owned(), Attribute::Ints(padding)));
    }
    list
}

fn adjoint(
    graph: &mut Graph,
    node: &Node,
    op: Op,
    cotangent: &Value,
    attributes: Vec<(String, Attribute)>,
) -> Product {
    let name = graph.fresh(op.name());
    let output = Value::new(&name);
    graph.append(Node {
        name,
        op,
        inputs: vec![Some(cotangent.clone()), Some(node.input(1)?.clone())],
        outputs: vec![output.clone()],
        attributes: attributes.into_iter().collect(),
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
    let window = window(node, graph.shape(node.input(1)?)?)?;
    let (input, output) = (graph.shape(node.input(0)?)?, graph.shape(node.output(0)?)?);
    // What a stride left over at the far side must come back as zeros.
    let mut left_over = Vec::with_capacity(window.kernel.len());
    for axis in 0..window.kernel.len() {
        let (Dim::Fixed(size), Dim::Fixed(steps)) = (input[axis + 2], output[axis + 2]) else {
            return Err(node.error("a spatial size is not fixed"));
        };
        let reach = window.dilations[axis] * (window.kernel[axis] - 1) + 1;
        let covered = (steps - 1) * window.strides[axis] + reach;
        left_over.push((size + window.pads[axis].0 + window.pads[axis].1 - covered) as i64);
    }
    adjoint(
        graph,
        node,
        Op::ConvTranspose,
        &cotangent,
        attributes(&window, Some(left_over)),
    )
}

pub(super) fn conv_transpose_vjp(
    graph: &mut Graph,
    node: &Node,
    cotangents: Cotangents,
    position: usize,
) -> Product {
    only_input(node, position)?;
    let cotangent = graph.expand_like(&single(node, cotangents)?, node.output(0)?)?;
    let window = window(node, graph.shape(node.input(1)?)?)?;
    adjoint(graph, node, Op::Conv, &cotangent, attributes(&window, None))
}
