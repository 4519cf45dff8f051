//! Appending nodes to a graph: their operators give their outputs' types.

use std::collections::HashMap;

use crate::graph::ops::infer;
use crate::graph::{Graph, GraphError, Node, Op, Value};

impl Graph {
    /// Makes `value` the output called `name`.
    ///
    /// # Errors
    /// When the graph has no such value.
    pub fn output(&mut self, name: &str, value: &Value) -> Result<(), GraphError> {
        let named = self.append_named(Op::Identity, name, &[value])?;
        self.outputs.push(named);
        Ok(())
    }

    /// Applies an operator with one output.
    ///
    /// # Errors
    /// When the inputs do not fit the operator and its attributes.
    pub fn apply(&mut self, op: Op, inputs: &[&Value]) -> Result<Value, GraphError> {
        let name = self.fresh(op.name());
        self.append_named(op, &name, inputs)
    }

    fn append_named(
        &mut self,
        op: Op,
        output: &str,
        inputs: &[&Value],
    ) -> Result<Value, GraphError> {
        let value = Value::new(output);
        self.append(Node {
            name: output.to_owned(),
            op,
            inputs: inputs.iter().map(|&input| Some(input.clone())).collect(),
            outputs: vec![value.clone()],
        })?;
        Ok(value)
    }

    /// Appends a node whose inputs exist and whose outputs do not yet.
    ///
    /// # Errors
    /// When the inputs do not fit the operator and its attributes.
    pub fn append(&mut self, node: Node) -> Result<(), GraphError> {
        let types = infer(self, &node)?;
        for (output, value_type) in node.outputs.iter().zip(types) {
            if self.types.insert(output.clone(), value_type).is_some() {
                return Err(node.error(format!("the value {output} exists already")));
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Copies `other` into this graph, its inputs bound to values of this one, and returns where
    /// its outputs are. Its nodes and inner values get the prefix `other.name()`.
    ///
    /// # Errors
    /// When an input is not bound, or shapes do not fit.
    pub fn inline(
        &mut self,
        other: &Graph,
        bindings: &[(&str, &Value)],
    ) -> Result<Vec<Value>, GraphError> {
        let mut renamed: HashMap<&Value, Value> = HashMap::new();
        for input in &other.inputs {
            let bound = bindings.iter().find(|(name, _)| *name == input.name());
            let (_, value) = bound.ok_or_else(|| GraphError::UnknownValue(input.to_string()))?;
            renamed.insert(input, (*value).clone());
        }
        for (name, constant) in &other.constants {
            renamed.insert(name, self.constant(name.name(), constant.clone()));
        }
        for node in &other.nodes {
            for output in &node.outputs {
                renamed.insert(
                    output,
                    Value::new(&self.fresh(&format!("{}/{output}", other.name))),
                );
            }
            let rename = |value: &Value| {
                renamed
                    .get(value)
                    .cloned()
                    .ok_or_else(|| GraphError::UnknownValue(value.to_string()))
            };
            let copy = Node {
                name: format!("{}/{}", other.name, node.name),
                op: node.op.clone(),
                inputs: node
                    .inputs
                    .iter()
                    .map(|input| input.as_ref().map(rename).transpose())
                    .collect::<Result<_, _>>()?,
                outputs: node.outputs.iter().map(rename).collect::<Result<_, _>>()?,
            };
            self.append(copy)?;
        }
        other
            .outputs
            .iter()
            .map(|output| {
                renamed
                    .get(output)
                    .cloned()
                    .ok_or_else(|| GraphError::UnknownValue(output.to_string()))
            })
            .collect()
    }
}
