//! Layers for operators that are not ONNX's.

use std::collections::{HashMap, HashSet};

use prost::Message;

use super::codec::{DecodeError, decode_shapes};
use super::graph::{Constant, Dim, Graph, Node};
use super::proto::{AttributeProto, AttributeType, ModelProto, OperatorSetIdProto};

/// Attribute of a moved layer: what negative results are multiplied by, 1 without a rectifier.
pub(crate) const SLOPE: &str = "slope";
/// Attribute of a moved convolution: height and width of its input.
pub(crate) const INPUT: &str = "input";
/// A product with fewer weights is as fast where it is.
const LEAST_WEIGHTS: usize = 1 << 13;

/// Moves the layers with large constant weights (Gemm, Conv, ConvTranspose), each with the rectifier
/// that follows it, to the operators of the same names in `domain`. The weights stay where they
/// are.
///
/// # Errors
/// When the bytes are no graph of this crate.
pub(crate) fn move_layers(bytes: &[u8], domain: &str) -> Result<Vec<u8>, DecodeError> {
    let known = decode_shapes(bytes)?;
    let readers = known.readers();
    let mut layers = HashMap::new();
    let mut rectifiers = HashMap::new();
    for node in known.nodes() {
        if let Some(input) = movable(node, &known) {
            layers.insert(node.output(0)?.name(), input);
        }
        if let Some(slope) = slope(node)
            && readers.get(node.input(0)?) == Some(&1)
        {
            rectifiers.insert(node.input(0)?.name(), (slope, node.output(0)?.name()));
        }
    }
    let mut model = ModelProto::decode(bytes)?;
    let mut joined = HashSet::new();
    for node in model.graph.iter_mut().flat_map(|graph| &mut graph.node) {
        let Some(output) = node.output.first_mut() else {
            continue;
        };
        let Some(input) = layers.get(output.as_str()) else {
            continue;
        };
        node.domain = Some(domain.to_owned());
        // A bias that is left out, in so many words.
        while node.input.last().is_some_and(String::is_empty) {
            node.input.pop();
        }
        if let Some(&(slope, rectified)) = rectifiers.get(output.as_str()) {
            node.attribute.push(AttributeProto {
                name: Some(SLOPE.to_owned()),
                f: Some(slope),
                r#type: Some(AttributeType::Float.into()),
                ..AttributeProto::default()
            });
            rectified.clone_into(output);
            joined.insert(rectified);
        }
        if !input.is_empty() {
            node.attribute.push(AttributeProto {
                name: Some(INPUT.to_owned()),
                ints: input.clone(),
                r#type: Some(AttributeType::Ints.into()),
                ..AttributeProto::default()
            });
        }
    }
    if let Some(graph) = &mut model.graph {
        graph.node.retain(|node| {
            let output = node.output.first().map(String::as_str).unwrap_or_default();
            node.domain.as_deref() == Some(domain) || !joined.contains(output)
        });
    }
    model.opset_import.push(OperatorSetIdProto {
        domain: Some(domain.to_owned()),
        version: Some(1),
    });
    Ok(model.encode_to_vec())
}

/// What a rectifier multiplies negative numbers by; `None` for any other node.
fn slope(node: &Node) -> Option<f32> {
    match node.op.as_str() {
        "Relu" => Some(0.0),
        "LeakyRelu" => Some(node.float("alpha", 0.01)),
        _ => None,
    }
}

/// Height and width of the input of a layer that can be moved; nothing of a fully connected one.
fn movable(node: &Node, graph: &Graph) -> Option<Vec<i64>> {
    let constant = |index| {
        let constant = graph.constants().get(node.optional_input(index)?);
        constant.map(Constant::shape)
    };
    let weights = constant(1)?;
    if weights.iter().product::<usize>() < LEAST_WEIGHTS {
        return None;
    }
    let all = |name, value| {
        let values = node.ints(name);
        values.is_none_or(|values| values.iter().all(|&other| other == value))
    };
    let one = |name| node.float(name, 1.0) == 1.0;
    let (plain, outputs) = match node.op.as_str() {
        "Gemm" => (
            node.int("transA", 0) == 0 && one("alpha") && one("beta"),
            weights[usize::from(node.int("transB", 0) == 0)],
        ),
        "Conv" => (true, weights[0]),
        "ConvTranspose" => {
            let strides = node.ints("strides").unwrap_or(&[1, 1]);
            let mut axes = strides.iter().zip(&weights[2..]);
            let reached = axes.all(|(&stride, &kernel)| stride as usize <= kernel);
            (reached && all("output_padding", 0), weights[1])
        }
        _ => return None,
    };
    let bias = node.optional_input(2).is_none() || constant(2)? == [outputs];
    if !plain || !bias {
        return None;
    }
    if node.op == "Gemm" {
        return Some(Vec::new());
    }
    let alone = node.int("group", 1) == 1 && all("dilations", 1);
    match graph.shape(node.optional_input(0)?).ok()? {
        &[Dim::Batch, _, Dim::Fixed(height), Dim::Fixed(width)] if alone => {
            Some(vec![height as i64, width as i64])
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::proto::NodeProto;
    use crate::onnx::{Attribute, ConvGeometry, GraphError, Value, encode};
    use crate::tensor::Tensor;

    fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
        let mut attributes = node.attribute.iter();
        attributes.find(|attribute| attribute.name.as_deref() == Some(name))
    }

    fn weights(graph: &mut Graph, name: &str, shape: &[usize]) -> Value {
        let values = vec![0.5; shape.iter().product()];
        graph.weights(name, Tensor::new(shape.to_vec(), values))
    }

    /// The nodes after the move.
    fn moved(graph: &Graph) -> Vec<NodeProto> {
        let bytes = move_layers(&encode(graph, None).unwrap(), "other").unwrap();
        ModelProto::decode(&bytes[..]).unwrap().graph.unwrap().node
    }

    #[test]
    fn large_layers_move_with_their_rectifiers_and_small_ones_stay() -> Result<(), GraphError> {
        let mut graph = Graph::new("layers");
        let z = graph.input("z", &[Dim::Batch, Dim::Fixed(16)]);
        let small = weights(&mut graph, "small", &[16, 128]);
        let large = weights(&mut graph, "large", &[128, 128]);
        let bias = weights(&mut graph, "bias", &[128]);
        let h = graph.apply("Gemm", &[&z, &small], [])?;
        let h = graph.apply("Relu", &[&h], [])?;
        let h = graph.apply("Gemm", &[&h, &large, &bias], [])?;
        let h = graph.apply("LeakyRelu", &[&h], [("alpha", Attribute::Float(0.2))])?;
        let product = graph.apply("Gemm", &[&h, &large, &bias], [])?;
        let rectified = graph.apply("Relu", &[&product], [])?;
        let sum = graph.add(&product, &rectified)?;
        let product = graph.apply("Gemm", &[&sum, &large], [])?;
        graph.output("product", &product)?;
        let rectified = graph.apply("Relu", &[&product], [])?;
        let single = weights(&mut graph, "single", &[1]);
        let product = graph.apply("Gemm", &[&rectified, &large, &single], [])?;
        let y = graph.apply("Gemm", &[&product, &large, &h], [])?;
        graph.output("y", &y)?;
        let nodes = moved(&graph);
        let got: Vec<_> = nodes
            .iter()
            .map(|node| {
                let operator = node.op_type.as_deref().unwrap_or_default();
                let slope = attribute(node, SLOPE).and_then(|a| a.f);
                (operator, node.domain.as_deref() == Some("other"), slope)
            })
            .filter(|(operator, ..)| *operator != "Identity")
            .collect();
        let expected = [
            ("Gemm", false, None),
            ("Relu", false, None),
            ("Gemm", true, Some(0.2)),
            // Its result is wanted before the rectifier, too.
            ("Gemm", true, None),
            ("Relu", false, None),
            ("Add", false, None),
            // So is this one's, by whoever runs the graph.
            ("Gemm", true, None),
            ("Relu", false, None),
            // One value for all outputs.
            ("Gemm", false, None),
            // What it adds is no bias.
            ("Gemm", false, None),
        ];
        assert_eq!(got, expected);
        Ok(())
    }

    #[test]
    fn convolutions_move_with_the_size_of_their_input() -> Result<(), GraphError> {
        let mut graph = Graph::new("convolutions");
        let sizes = [32, 7, 9].map(Dim::Fixed);
        let x = graph.input("x", &[&[Dim::Batch], &sizes[..]].concat());
        let kernel = weights(&mut graph, "kernel", &[32, 16, 4, 4]);
        let geometry = ConvGeometry {
            kernel: 4,
            stride: 2,
            padding: 1,
        };
        let y = graph.conv_transpose(&x, &kernel, None, geometry)?;
        let y = graph.conv(&y, &kernel, None, geometry)?;
        graph.output("y", &y)?;
        let nodes = moved(&graph);
        let moved = nodes
            .iter()
            .filter(|node| node.domain.as_deref() == Some("other"));
        let inputs: Vec<_> = moved
            .map(|node| attribute(node, INPUT).map(|a| &a.ints[..]))
            .collect();
        assert_eq!(inputs, [Some(&[7, 9][..]), Some(&[14, 18])]);
        Ok(())
    }
}
