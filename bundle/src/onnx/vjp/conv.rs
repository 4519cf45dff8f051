//! Rules of convolutions. A convolution and the transposed one with the same kernel are each
//! other's adjoint, and ONNX lays the kernel out so that the same tensor serves both.

use super::single;
use crate::onnx::graph::{Attribute, Dim, Graph, GraphError, Node, Value};
use crate::onnx::shape::{Window, window};

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
    op: &str,
    cotangent: &Value,
    attributes: Vec<(String, Attribute)>,
) -> Result<Option<Value>, GraphError> {
    let name = graph.fresh(op);
    let output = Value::new(&name);
    graph.append(Node {
        name,
        op: op.to_owned(),
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

pub fn conv(
    graph: &mut Graph,
    node: &Node,
    cotangents: &[Option<Value>],
    position: usize,
) -> Result<Option<Value>, GraphError> {
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
        "ConvTranspose",
        &cotangent,
        attributes(&window, Some(left_over)),
    )
}

pub fn conv_transpose(
    graph: &mut Graph,
    node: &Node,
    cotangents: &[Option<Value>],
    position: usize,
) -> Result<Option<Value>, GraphError> {
    only_input(node, position)?;
    let cotangent = graph.expand_like(&single(node, cotangents)?, node.output(0)?)?;
    let window = window(node, graph.shape(node.input(1)?)?)?;
    adjoint(graph, node, "Conv", &cotangent, attributes(&window, None))
}
