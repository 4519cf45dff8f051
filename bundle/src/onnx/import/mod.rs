//! Graphs that others exported, in the operators of this crate.
//!
//! Exporters write three things that this crate does not. Sizes computed from the batch's, which
//! are followed here and disappear (`known`); layers as one node, which become several that can be
//! differentiated (`lower`); and newer operator sets, whose nodes are brought to
//! [`OPSET`](super::OPSET) (`lower` too).

mod known;
mod lower;

use std::collections::HashMap;

use super::codec::{DecodeError, Model, read};
use super::graph::{Constant, Dim, ElementType, Graph, GraphError, Node, Value, ValueType};
use super::ops;
use known::{Known, Size, fold};

/// The oldest operator set that is read: since then, axes are inputs.
const OLDEST_OPSET: i64 = 13;

/// A graph without outputs, and what its outputs can be.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The nodes.
    pub graph: Graph,
    /// The file's outputs in order: their names there, and the values here.
    pub outputs: Vec<(String, Value)>,
}

/// Reads a model with one input of floats, as another program exported it. The graph is called
/// `name` and its input `input`. `external` returns `length` bytes at `offset` of the named file
/// beside it.
///
/// # Errors
/// When the bytes are no ONNX model, or it has an operator that cannot be brought to this crate's;
/// the message names the node and lists those that can.
pub fn import(
    bytes: &[u8],
    external: &dyn Fn(&str, usize, usize) -> Option<Vec<u8>>,
    name: &str,
    input: &str,
) -> Result<Imported, DecodeError> {
    let model = read(bytes, external)?;
    if model.opset < OLDEST_OPSET {
        return Err(DecodeError::Content(format!(
            "it is written in operator set {}, and {OLDEST_OPSET} and later are read; export it \
             with a newer one",
            model.opset
        )));
    }
    let mut importer = Importer {
        graph: Graph::new(name),
        names: HashMap::new(),
        known: HashMap::new(),
    };
    importer.bind_input(&model, input)?;
    for (name, constant) in model.constants {
        importer.constant(name, constant);
    }
    for node in &model.nodes {
        importer.node(node)?;
    }
    let outputs = model
        .outputs
        .iter()
        .map(|output| Ok((output.to_string(), importer.value(output)?)))
        .collect::<Result<_, GraphError>>()?;
    Ok(Imported {
        graph: importer.graph,
        outputs,
    })
}

/// The operators that [`import`] can read.
fn readable() -> Vec<&'static str> {
    let mut names: Vec<_> = ops::names().chain(lower::names()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

struct Importer {
    graph: Graph,
    /// What the file's values are called in the graph.
    names: HashMap<Value, Value>,
    /// The file's values that are integers known by now.
    known: HashMap<Value, Known>,
}

impl Importer {
    /// A generator of images may take its latents as images of one position.
    fn bind_input(&mut self, model: &Model, input: &str) -> Result<(), DecodeError> {
        let [(name, value_type)] = &model.inputs[..] else {
            return Err(DecodeError::Content(format!(
                "it has {} inputs, expected one, the latents",
                model.inputs.len()
            )));
        };
        let ValueType { element, shape } = value_type;
        let (shape, positions): (&[Dim], &[i64]) = match &shape[..] {
            [rows, size, Dim::Fixed(1), Dim::Fixed(1)] => (&[*rows, *size], &[2, 3]),
            shape => (shape, &[]),
        };
        let [Dim::Batch, Dim::Fixed(_)] = shape else {
            let sizes: Vec<_> = shape.iter().map(Dim::to_string).collect();
            return Err(DecodeError::Content(format!(
                "its input {name} has the shape [{}], expected [B, d] with a free number of rows B \
                 and a fixed d; export it with a dynamic first dimension",
                sizes.join(", ")
            )));
        };
        if *element != ElementType::F32 {
            let reason = format!("its input {name} is not of float32");
            return Err(DecodeError::Content(reason));
        }
        let mut value = self.graph.input(input, shape);
        if !positions.is_empty() {
            value = self.graph.unsqueeze(&value, positions)?;
        }
        self.names.insert(Value::new(name), value);
        Ok(())
    }

    fn constant(&mut self, name: Value, constant: Constant) {
        if let Some(known) = Known::of(&constant) {
            self.known.insert(name, known);
        } else {
            let value = self.graph.constant(name.name(), constant);
            self.names.insert(name, value);
        }
    }

    fn node(&mut self, node: &Node) -> Result<(), GraphError> {
        if let Some(known) = fold(&self.graph, &self.names, &self.known, node)? {
            self.known.insert(node.output(0)?.clone(), known);
            return Ok(());
        }
        if let Some(rule) = lower::rule(&node.op) {
            // What goes wrong inside is about this node of the file.
            let value = rule(self, node).map_err(|error| match error {
                GraphError::Node { reason, .. } => node.error(reason),
                other => other,
            })?;
            if let Some(value) = value {
                self.names.insert(node.output(0)?.clone(), value);
            }
            return Ok(());
        }
        if !ops::names().any(|name| name == node.op) {
            return Err(GraphError::UnknownOperator {
                node: node.name.clone(),
                op: node.op.clone(),
                what: "import rule",
                known: readable().join(", "),
            });
        }
        self.copy(node)
    }

    /// Appends a node of an operator that this crate has.
    fn copy(&mut self, node: &Node) -> Result<(), GraphError> {
        let inputs = node
            .inputs
            .iter()
            .map(|input| input.as_ref().map(|value| self.value(value)).transpose())
            .collect::<Result<_, _>>()?;
        let mut outputs = Vec::with_capacity(node.outputs.len());
        for output in &node.outputs {
            let fresh = Value::new(&self.graph.fresh(output.name()));
            self.names.insert(output.clone(), fresh.clone());
            outputs.push(fresh);
        }
        self.graph.append(Node {
            inputs,
            outputs,
            ..node.clone()
        })
    }

    /// Where one of the file's values is in the graph.
    fn value(&mut self, value: &Value) -> Result<Value, GraphError> {
        if let Some(present) = self.names.get(value) {
            return Ok(present.clone());
        }
        let constant = self.known.get(value).and_then(Known::constant);
        let constant = constant.ok_or_else(|| GraphError::UnknownValue(value.to_string()))?;
        let present = self.graph.constant(value.name(), constant);
        self.names.insert(value.clone(), present.clone());
        Ok(present)
    }

    /// Input `index` of a node of the file, in the graph.
    fn input(&mut self, node: &Node, index: usize) -> Result<Value, GraphError> {
        self.value(node.input(index)?)
    }

    /// The integers that input `index` holds, if the node has it.
    fn ints(&self, node: &Node, index: usize) -> Result<Option<Vec<Size>>, GraphError> {
        let Some(value) = node.optional_input(index) else {
            return Ok(None);
        };
        match self.known.get(value) {
            Some(known) => Ok(Some(known.sizes.clone())),
            None => Err(node.error(format!("its input {value} depends on the latents"))),
        }
    }

    /// The same, where all are numbers.
    fn numbers(&self, node: &Node, index: usize) -> Result<Option<Vec<i64>>, GraphError> {
        let Some(sizes) = self.ints(node, index)? else {
            return Ok(None);
        };
        let number = |size| match size {
            Size::Number(number) => Ok(number),
            Size::Batch => Err(node.error(format!("its input {index} depends on the batch"))),
        };
        sizes
            .into_iter()
            .map(number)
            .collect::<Result<_, _>>()
            .map(Some)
    }

    /// The floats that input `index` holds, where it is a constant.
    fn floats(&mut self, node: &Node, index: usize) -> Result<Vec<f32>, GraphError> {
        let value = self.input(node, index)?;
        match self.graph.constants().get(&value) {
            Some(Constant::F32(tensor)) => Ok(tensor.data.clone()),
            _ => Err(node.error(format!("its input {value} is not a constant"))),
        }
    }
}

#[cfg(test)]
mod tests;
