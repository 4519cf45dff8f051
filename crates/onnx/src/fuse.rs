//! Fewer, larger nodes: on small matrices a runtime spends more time between nodes than in them.

use std::collections::HashMap;

use crate::graph::{Graph, Node, Op, Value};

impl Graph {
    /// How many inputs of nodes and outputs of the graph each value is.
    pub fn readers(&self) -> HashMap<Value, usize> {
        let mut readers: HashMap<Value, usize> = HashMap::new();
        let inputs = self.nodes.iter().flat_map(|node| node.inputs.iter());
        for value in inputs.flatten().chain(&self.outputs) {
            *readers.entry(value.clone()).or_default() += 1;
        }
        readers
    }

    /// Turns `Add(Gemm(a, b), c)` into `Gemm(a, b, c)` where nobody else reads the product.
    /// [`gradient`](super::gradient) leaves such sums where a value is used more than once.
    pub fn fuse_products(&mut self) {
        let readers = self.readers();
        let mut products: HashMap<Value, usize> = HashMap::new();
        let mut fused = vec![false; self.nodes.len()];
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            if matches!(node.op, Op::Gemm(_)) && node.optional_input(2).is_none() {
                products.extend(node.outputs.iter().map(|output| (output.clone(), index)));
            }
            let [Some(left), Some(right)] = &node.inputs[..] else {
                continue;
            };
            if node.op != Op::Add {
                continue;
            }
            let pairs = [(left, right), (right, left)];
            let found = pairs.into_iter().find_map(|(product, other)| {
                let position = *products.get(product)?;
                let same_shape = self.types.get(product) == self.types.get(other);
                (readers.get(product) == Some(&1) && same_shape).then(|| (position, other.clone()))
            });
            if let Some((position, addend)) = found {
                let product = &self.nodes[position];
                let (a, b) = (product.inputs[0].clone(), product.inputs[1].clone());
                self.nodes[index] = Node {
                    name: product.name.clone(),
                    op: product.op.clone(),
                    inputs: vec![a, b, Some(addend)],
                    outputs: node.outputs.clone(),
                };
                fused[position] = true;
            }
        }
        let mut fused = fused.into_iter();
        self.nodes.retain(|_| !fused.next().unwrap_or(false));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Gemm;
    use crate::tensor::Tensor;
    use crate::{Dim, GraphError};

    fn ops(product_is_put_out: bool) -> Result<Vec<&'static str>, GraphError> {
        let mut graph = Graph::new("sum");
        let z = graph.input("z", &[Dim::Batch, Dim::Fixed(2)]);
        let weight = graph.weights("weight", Tensor::new([2, 2], vec![1.0; 4]));
        let product = graph.apply(Op::Gemm(Gemm::default()), &[&z, &weight])?;
        let sum = graph.add(&z, &product)?;
        graph.output("sum", &sum)?;
        if product_is_put_out {
            graph.output("product", &product)?;
        }
        graph.simplify();
        graph.fuse_products();
        Ok(graph.nodes().iter().map(|node| node.op.name()).collect())
    }

    #[test]
    fn a_sum_joins_its_product_unless_somebody_else_reads_it() {
        assert_eq!(ops(false).unwrap(), ["Gemm"]);
        assert_eq!(ops(true).unwrap(), ["Gemm", "Add"]);
    }
}
