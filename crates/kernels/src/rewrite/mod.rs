//! Files of graphs whose nodes are replaced by operators that are not ONNX's.

mod clusters;
mod layers;

use std::collections::{HashMap, HashSet};
use std::mem;

use prost::Message;

use lfbm_onnx::proto::{AttributeProto, AttributeType, ModelProto, NodeProto, OperatorSetIdProto};
use lfbm_onnx::{DecodeError, Graph, Node, OPSET, Value, decode_shapes, is_standard};

use crate::program::{Program, compile};
use clusters::Clusters;
pub(crate) use layers::Offloadable;
pub use layers::{INPUT, SLOPE};

/// The operator that clusters of nodes become.
pub const FUSION: &str = "Fusion";
/// Its attribute: which of the programs it runs.
pub const PROGRAM: &str = "program";

/// A graph's file on its way to operators of another domain. Constants stay where they are.
pub(crate) struct Rewriter {
    domain: String,
    /// The graph as read. An initializer that is also an input counts as no constant: a caller may replace
    /// it.
    known: Graph,
    model: ModelProto,
    /// The nodes as they are now.
    nodes: Vec<NodeProto>,
    /// Whether nodes mean what they mean in [`OPSET`], with the constants that are known.
    fusible: bool,
    /// Outputs of the rectifiers that belong to a moved layer.
    joined: HashSet<String>,
    changed: bool,
}

impl Rewriter {
    /// # Errors
    /// When the bytes are no graph of this crate.
    pub(crate) fn read(bytes: &[u8], domain: &str) -> Result<Self, DecodeError> {
        let mut known = decode_shapes(bytes)?;
        let mut model = ModelProto::decode(bytes)?;
        let graph = model.graph.get_or_insert_default();
        let nodes = mem::take(&mut graph.node);
        let inputs = graph.input.iter().filter_map(|input| input.name.clone());
        let inputs: HashSet<String> = inputs.collect();
        let constants = known.constants().len();
        known.retain_constants(|value| !inputs.contains(value.name()));
        let opsets = model.opset_import.iter();
        let mut standard = opsets.filter(|set| set.domain.as_deref().is_none_or(is_standard));
        let opset = standard.next().and_then(|set| set.version);
        Ok(Self {
            fusible: opset == Some(OPSET) && known.constants().len() == constants,
            domain: domain.to_owned(),
            known,
            nodes,
            model,
            joined: HashSet::new(),
            changed: false,
        })
    }

    /// Joins nodes that can run together to [`FUSION`]s, and returns their programs.
    pub(crate) fn fuse(&mut self) -> Vec<Program> {
        if !self.fusible {
            return Vec::new();
        }
        let known = &self.known;
        let clusters = Clusters::of(known, |node| {
            !node.outputs.iter().any(|o| self.joined.contains(o.name()))
                && compile(known, &[node], &node.outputs).is_some()
        });
        let mut programs = Vec::new();
        let mut fused = HashSet::new();
        // Nodes with what they are sorted by.
        let mut nodes = Vec::new();
        for cluster in &clusters.clusters {
            let members: Vec<&Node> = cluster.nodes.iter().map(|&i| &known.nodes()[i]).collect();
            let Some((inputs, program)) = compile(known, &members, &cluster.outputs) else {
                continue;
            };
            let names = |values: &[Value]| values.iter().map(|v| v.name().to_owned()).collect();
            let node = NodeProto {
                input: names(&inputs),
                output: names(&cluster.outputs),
                op_type: Some(FUSION.to_owned()),
                domain: Some(self.domain.clone()),
                attribute: vec![AttributeProto {
                    name: Some(PROGRAM.to_owned()),
                    i: Some(programs.len() as i64),
                    r#type: Some(AttributeType::Int.into()),
                    ..AttributeProto::default()
                }],
                ..NodeProto::default()
            };
            nodes.push((Some(clusters.order(cluster.nodes[0])), node));
            let outputs = members.iter().flat_map(|node| &node.outputs);
            fused.extend(outputs.map(|output| output.name().to_owned()));
            programs.push(program);
        }
        let index_of: HashMap<&str, usize> = known
            .nodes()
            .iter()
            .enumerate()
            .flat_map(|(i, node)| node.outputs.iter().map(move |o| (o.name(), i)))
            .collect();
        for node in mem::take(&mut self.nodes) {
            let output = node.output.first().map(String::as_str).unwrap_or_default();
            if !fused.contains(output) {
                // What only gives a constant another type is no node of the graph, and comes first.
                let order = index_of.get(output).map(|&i| clusters.order(i));
                nodes.push((order, node));
            }
        }
        nodes.sort_by_key(|(order, _)| *order);
        self.nodes = nodes.into_iter().map(|(_, node)| node).collect();
        self.changed |= !programs.is_empty();
        programs
    }

    /// The file, if it is another than what was read.
    pub(crate) fn finish(mut self) -> Option<Vec<u8>> {
        self.model.graph.get_or_insert_default().node = self.nodes;
        self.model.opset_import.push(OperatorSetIdProto {
            domain: Some(self.domain),
            version: Some(1),
        });
        self.changed.then(|| self.model.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfbm_onnx::{Dim, Gemm, GraphError, Op, Reduction, Tensor, encode};

    /// Layers there and back, with a rectifier and a residual, as in a Langevin step.
    fn graph() -> Result<Graph, GraphError> {
        let mut graph = Graph::new("there and back");
        let row = [Dim::Batch, Dim::Fixed(100)];
        let [x, target] = ["x", "target"].map(|name| graph.input(name, &row));
        let there = graph.weights("there", Tensor::new([100, 100], vec![0.5; 10_000]));
        let back = graph.weights("back", Tensor::new([100, 100], vec![0.2; 10_000]));
        let hidden = product(&mut graph, &x, &there)?;
        let hidden = graph.leaky_relu(&hidden, 0.2)?;
        let y = product(&mut graph, &hidden, &back)?;
        let residual = graph.sub(&y, &target)?;
        let energy = graph.reduce_sum_square(&residual, &[1], false)?;
        let cotangent = product(&mut graph, &residual, &there)?;
        let [large, low, high] = [f32::MAX, 0.2, 1.0].map(|number| graph.scalar(number));
        let slope = graph.mul(&hidden, &large)?;
        let slope = graph.apply(Op::Clip, &[&slope, &low, &high])?;
        let gradient = graph.mul(&cotangent, &slope)?;
        graph.output("energy", &energy)?;
        graph.output("gradient", &gradient)?;
        graph.simplify();
        Ok(graph)
    }

    fn product(graph: &mut Graph, x: &Value, weights: &Value) -> Result<Value, GraphError> {
        graph.apply(Op::Gemm(Gemm::default()), &[x, weights])
    }

    #[test]
    fn what_lies_between_layers_becomes_one_node_each() {
        let graph = graph().unwrap();
        let bytes = encode(&graph, None).unwrap();
        let mut rewriter = Rewriter::read(&bytes, "other").unwrap();
        let programs = rewriter.fuse();
        let model = ModelProto::decode(&rewriter.finish().unwrap()[..]).unwrap();
        let nodes = model.graph.unwrap().node;
        let ops: Vec<_> = nodes
            .iter()
            .filter_map(|node| node.op_type.as_deref())
            .collect();
        // A rectifier that is alone stays, and its slope is made where it is read.
        let expected = ["Gemm", "LeakyRelu", "Gemm", FUSION, "Gemm", FUSION];
        assert_eq!(ops, expected);
        let counts: Vec<usize> = programs.iter().map(|p| p.instructions.len()).collect();
        assert_eq!(counts, [3, 4]);
        let (residual, gradient) = (&nodes[3], &nodes[5]);
        assert_eq!(residual.input, [&nodes[2].output[0], "target"]);
        assert_eq!(residual.output.len(), 2);
        assert!(residual.output.contains(&"energy".to_owned()));
        assert!(residual.output.contains(&nodes[4].input[0]));
        assert_eq!(
            gradient.input[..2],
            [nodes[1].output[0].clone(), nodes[4].output[0].clone()]
        );
        assert_eq!(gradient.input.len(), 5);
        assert_eq!(gradient.output, ["gradient"]);
        // Only the second treats every value alike.
        assert_eq!(
            programs.iter().map(|p| p.rows).collect::<Vec<_>>(),
            [1, 100]
        );
    }

    #[test]
    fn rectifiers_of_moved_layers_are_no_part_of_what_lies_between() {
        let bytes = encode(&graph().unwrap(), None).unwrap();
        let mut rewriter = Rewriter::read(&bytes, "other").unwrap();
        rewriter.offload_layers(|_| true).unwrap();
        let programs = rewriter.fuse();
        assert_eq!(programs.len(), 2);
        let model = ModelProto::decode(&rewriter.finish().unwrap()[..]).unwrap();
        let mut made: HashSet<String> = ["x", "target"].map(str::to_owned).into();
        let graph = model.graph.unwrap();
        made.extend(
            graph
                .initializer
                .into_iter()
                .filter_map(|tensor| tensor.name),
        );
        assert_eq!(graph.node.len(), 5);
        for node in graph.node {
            assert_eq!(node.domain.as_deref(), Some("other"));
            assert!(
                node.input.iter().all(|input| made.contains(input)),
                "{node:?}"
            );
            made.extend(node.output);
        }
        assert!(made.contains("gradient"));
    }

    /// Which of the nodes, by operator, cannot be part of a program.
    fn staying(graph: &Graph) -> Vec<&'static str> {
        let alone = |node: &&Node| compile(graph, &[node], &node.outputs).is_none();
        let nodes = graph.nodes().iter().filter(alone);
        nodes.map(|node| node.op.name()).collect()
    }

    #[test]
    fn what_is_not_of_rows_stays() -> Result<(), GraphError> {
        let mut graph = Graph::new("columns");
        let row = [2, 4, 4].map(Dim::Fixed);
        let x = graph.input("x", &[&[Dim::Batch], &row[..]].concat());
        // Over the batch, and what would be repeated for each of its rows.
        let sum = graph.reduce_sum(&x, &[0], false)?;
        graph.sub(&x, &sum)?;
        // Over axes in between, and what would be repeated along them.
        let sum = graph.reduce_sum(&x, &[2], true)?;
        graph.mul(&x, &sum)?;
        // Over no axes at all.
        let nothing = Reduction {
            noop_with_empty_axes: Some(true),
            ..Reduction::default()
        };
        graph.apply(Op::ReduceSum(nothing), &[&x])?;
        let turned = graph.transpose(&x, &[0, 1, 3, 2])?;
        graph.matmul(&x, &turned)?;
        let expected = [
            "ReduceSum",
            "Sub",
            "ReduceSum",
            "Mul",
            "ReduceSum",
            "Transpose",
            "MatMul",
        ];
        assert_eq!(staying(&graph), expected);
        Ok(())
    }

    #[test]
    fn products_that_are_not_of_rows_with_small_matrices_stay() -> Result<(), GraphError> {
        let mut graph = Graph::new("products");
        let x = graph.input("x", &[Dim::Batch, Dim::Fixed(16)]);
        let column = graph.input("column", &[Dim::Batch, Dim::Fixed(1)]);
        let square = graph.weights("square", Tensor::new([16, 16], vec![0.5; 256]));
        let large = graph.weights("large", Tensor::new([16, 512], vec![0.5; 8192]));
        let number = graph.scalar(1.0);
        graph.apply(Op::Gemm(Gemm::default()), &[&x, &large])?;
        graph.apply(Op::Gemm(Gemm::default()), &[&x, &square, &column])?;
        graph.apply(Op::Gemm(Gemm::default()), &[&x, &square, &number])?;
        for (alpha, beta, trans_a) in [
            (Some(2.0), None, None),
            (None, Some(2.0), None),
            (None, None, Some(true)),
        ] {
            let gemm = Gemm {
                alpha,
                beta,
                trans_a,
                trans_b: None,
            };
            let other = if trans_a.is_some() { &x } else { &square };
            graph.apply(Op::Gemm(gemm), &[&x, other])?;
        }
        let staying_products = graph.nodes().len();
        graph.apply(Op::Gemm(Gemm::default()), &[&x, &square, &x])?;
        assert_eq!(staying(&graph).len(), staying_products);
        Ok(())
    }

    #[test]
    fn what_nobody_reads_and_other_operator_sets_stay() -> Result<(), GraphError> {
        let mut graph = Graph::new("dead");
        let x = graph.input("x", &[Dim::Batch, Dim::Fixed(4)]);
        let dead = graph.exp(&x)?;
        graph.neg(&dead)?;
        let alive = graph.tanh(&x)?;
        graph.output("y", &alive)?;
        let fused = |bytes: &[u8]| Rewriter::read(bytes, "other").unwrap().fuse().len();
        assert_eq!(fused(&encode(&graph, None).unwrap()), 0);
        let alive = graph.neg(&alive)?;
        graph.output("z", &alive)?;
        let bytes = encode(&graph, None).unwrap();
        assert_eq!(fused(&bytes), 1);
        let mut model = ModelProto::decode(&bytes[..]).unwrap();
        model.opset_import[0].version = Some(10);
        assert_eq!(fused(&model.encode_to_vec()), 0);
        Ok(())
    }
}
