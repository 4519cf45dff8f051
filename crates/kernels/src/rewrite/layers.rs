//! Large layers, for operators that are faster than ONNX Runtime's.

use std::collections::HashMap;

use super::Rewriter;
use lfbm_onnx::proto::{AttributeProto, AttributeType};
use lfbm_onnx::{Constant, ConvGeometry, Dim, Graph, GraphError, Node, Op};

use crate::convolution::Convolution;
use crate::program::LEAST_WEIGHTS;

/// Attribute of a moved layer: what negative results are multiplied by, 1 without a rectifier.
pub const SLOPE: &str = "slope";
/// Attribute of a moved convolution: height and width of its input.
pub const INPUT: &str = "input";
/// A layer that can be moved.
pub(crate) enum Offloadable {
    /// Gemm.
    Linear,
    /// Conv or ConvTranspose.
    Convolution(Convolution),
}

impl Rewriter {
    /// Moves the layers with large constant weights (Gemm, Conv, ConvTranspose) that are `wanted`, each
    /// with the rectifier that follows it, to the operators of the same names in the domain.
    ///
    /// # Errors
    /// When a node lacks an input or an output.
    pub(crate) fn offload_layers(
        &mut self,
        wanted: impl Fn(&Offloadable) -> bool,
    ) -> Result<(), GraphError> {
        let readers = self.known.readers();
        let mut layers = HashMap::new();
        let mut rectifiers = HashMap::new();
        for node in self.known.nodes() {
            if let Some(layer) = offloadable(node, &self.known)
                && wanted(&layer)
            {
                layers.insert(node.output(0)?.name(), layer);
            }
            if let Some(slope) = slope(node)
                && readers.get(node.input(0)?) == Some(&1)
            {
                rectifiers.insert(node.input(0)?.name(), (slope, node.output(0)?.name()));
            }
        }
        for node in &mut self.nodes {
            let Some(output) = node.output.first_mut() else {
                continue;
            };
            let Some(layer) = layers.get(output.as_str()) else {
                continue;
            };
            node.domain = Some(self.domain.clone());
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
                self.joined.insert(rectified.to_owned());
            }
            if let Offloadable::Convolution(convolution) = layer {
                node.attribute.push(AttributeProto {
                    name: Some(INPUT.to_owned()),
                    ints: convolution.input.map(|size| size as i64).to_vec(),
                    r#type: Some(AttributeType::Ints.into()),
                    ..AttributeProto::default()
                });
            }
        }
        let (domain, joined) = (&self.domain, &self.joined);
        self.nodes.retain(|node| {
            let output = node.output.first().map(String::as_str).unwrap_or_default();
            node.domain.as_ref() == Some(domain) || !joined.contains(output)
        });
        self.changed |= !layers.is_empty();
        Ok(())
    }
}

/// What a rectifier multiplies negative numbers by; `None` for any other node.
fn slope(node: &Node) -> Option<f32> {
    match &node.op {
        Op::Relu => Some(0.0),
        Op::LeakyRelu(leaky) => Some(leaky.alpha()).filter(|slope| slope.is_finite()),
        _ => None,
    }
}

/// The layer that a node is, if it can be moved.
fn offloadable(node: &Node, graph: &Graph) -> Option<Offloadable> {
    let constant = |index| {
        let value = node.optional_input(index)?;
        graph.constants().get(value).map(Constant::shape)
    };
    let weights = constant(1)?;
    if weights.iter().product::<usize>() < LEAST_WEIGHTS {
        return None;
    }
    let biased = |outputs| node.optional_input(2).is_none() || constant(2) == Some(&[outputs]);
    let (attributes, transposed) = match &node.op {
        Op::Gemm(gemm) => {
            let outputs = weights[usize::from(!gemm.trans_b())];
            let moves = gemm.is_plain() && biased(outputs);
            return moves.then_some(Offloadable::Linear);
        }
        Op::Conv(attributes) => (attributes, false),
        Op::ConvTranspose(attributes) => (attributes, true),
        _ => return None,
    };
    let &[first, second, _, _] = weights else {
        return None;
    };
    let &[Dim::Batch, _, Dim::Fixed(rows), Dim::Fixed(columns)] =
        graph.shape(node.optional_input(0)?).ok()?
    else {
        return None;
    };
    let weight = graph.shape(node.optional_input(1)?).ok()?;
    let axes = attributes.geometry(node, weight).ok()?;
    let axes: [ConvGeometry; 2] = axes.try_into().ok()?;
    // Else there are outputs that no input reaches.
    let reached = !transposed || axes.iter().all(|axis| axis.stride <= axis.kernel);
    let dense = axes.iter().all(|axis| axis.dilation == 1);
    let padded = axes.iter().any(|axis| axis.output_padding > 0);
    let outputs = if transposed { second } else { first };
    if attributes.group().get() != 1 || !dense || padded || !reached || !biased(outputs) {
        return None;
    }
    let channels = [first, second];
    let convolution = Convolution::new(transposed, channels, [rows, columns], axes);
    Some(Offloadable::Convolution(convolution))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use prost::Message;

    use super::*;
    use lfbm_onnx::proto::{ModelProto, NodeProto, ValueInfoProto};
    use lfbm_onnx::{Convolution, Gemm, GraphError, Tensor, Value, encode};

    fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
        let mut attributes = node.attribute.iter();
        attributes.find(|attribute| attribute.name.as_deref() == Some(name))
    }

    fn weights(graph: &mut Graph, name: &str, shape: &[usize]) -> Value {
        let values = vec![0.5; shape.iter().product()];
        graph.weights(name, Tensor::new(shape.to_vec(), values))
    }

    fn image(graph: &mut Graph) -> Value {
        let sizes = [32, 7, 9].map(Dim::Fixed);
        graph.input("x", &[&[Dim::Batch], &sizes[..]].concat())
    }

    fn offload_layers(bytes: &[u8], wanted: bool) -> Option<Vec<u8>> {
        let mut rewriter = Rewriter::read(bytes, "other").unwrap();
        rewriter.offload_layers(|_| wanted).unwrap();
        rewriter.finish()
    }

    /// The nodes after the move.
    fn moved(graph: &Graph) -> Vec<NodeProto> {
        let bytes = offload_layers(&encode(graph, None).unwrap(), true).unwrap();
        ModelProto::decode(&bytes[..]).unwrap().graph.unwrap().node
    }

    #[test]
    fn large_layers_move_with_their_rectifiers_and_small_ones_stay() -> Result<(), GraphError> {
        let mut graph = Graph::new("layers");
        let z = graph.input("z", &[Dim::Batch, Dim::Fixed(16)]);
        let small = weights(&mut graph, "small", &[16, 128]);
        let large = weights(&mut graph, "large", &[128, 128]);
        let bias = weights(&mut graph, "bias", &[128]);
        let h = graph.apply(Op::Gemm(Gemm::default()), &[&z, &small])?;
        let h = graph.apply(Op::Relu, &[&h])?;
        let h = graph.apply(Op::Gemm(Gemm::default()), &[&h, &large, &bias])?;
        let h = graph.leaky_relu(&h, 0.2)?;
        let product = graph.apply(Op::Gemm(Gemm::default()), &[&h, &large, &bias])?;
        let rectified = graph.apply(Op::Relu, &[&product])?;
        let sum = graph.add(&product, &rectified)?;
        let product = graph.apply(Op::Gemm(Gemm::default()), &[&sum, &large])?;
        graph.output("product", &product)?;
        let rectified = graph.apply(Op::Relu, &[&product])?;
        let single = weights(&mut graph, "single", &[1]);
        let product = graph.apply(Op::Gemm(Gemm::default()), &[&rectified, &large, &single])?;
        let y = graph.apply(Op::Gemm(Gemm::default()), &[&product, &large, &h])?;
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
    fn what_cannot_be_moved_stays() -> Result<(), GraphError> {
        let mut graph = Graph::new("layers");
        let x = image(&mut graph);
        let kernel = weights(&mut graph, "kernel", &[32, 32, 3, 3]);
        let grouped = weights(&mut graph, "halves", &[64, 16, 3, 3]);
        let dilated = Convolution {
            dilations: Some(vec![2; 2]),
            ..Convolution::default()
        };
        let y = graph.apply(Op::Conv(dilated), &[&x, &kernel])?;
        graph.output("dilated", &y)?;
        let halves = Convolution {
            group: NonZeroUsize::new(2),
            ..Convolution::default()
        };
        let y = graph.apply(Op::Conv(halves), &[&x, &grouped])?;
        graph.output("grouped", &y)?;
        let plain = graph.apply(Op::Conv(Convolution::default()), &[&x, &kernel])?;
        graph.output("plain", &plain)?;
        let bytes = encode(&graph, None).unwrap();
        let moved = offload_layers(&bytes, true).unwrap();
        let moved = ModelProto::decode(&moved[..]).unwrap().graph.unwrap();
        let domains: Vec<_> = moved
            .node
            .iter()
            .filter(|node| node.op_type.as_deref() == Some("Conv"))
            .map(|node| node.domain.as_deref())
            .collect();
        assert_eq!(domains, [None, None, Some("other")]);
        assert!(offload_layers(&bytes, false).is_none());
        // Weights that who runs the graph may replace.
        let mut model = ModelProto::decode(&bytes[..]).unwrap();
        let graph = model.graph.as_mut().unwrap();
        graph.input.push(ValueInfoProto {
            name: Some("kernel".to_owned()),
            ..graph.input[0].clone()
        });
        let bytes = model.encode_to_vec();
        assert!(offload_layers(&bytes, true).is_none());
        Ok(())
    }

    #[test]
    fn convolutions_move_with_the_size_of_their_input() -> Result<(), GraphError> {
        let mut graph = Graph::new("convolutions");
        let x = image(&mut graph);
        let kernel = weights(&mut graph, "kernel", &[32, 16, 4, 4]);
        let geometry = ConvGeometry::new(4, 2, 1);
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
