//! The way through a file's nodes: what each is imported by, or that it is missing.

use std::collections::HashSet;

use super::importer::Importer;
use super::known::{Known, fold};
use super::lower::{FileNode, FileOp};
use super::source::{in_a_scope, needed, reads};
use super::{Imported, lower, readable};
use crate::codec::{
    DecodeError, Elements, External, content, is_standard, read_node, read_tensor, whole_tensor,
};
use crate::graph::{Dim, ElementType, GraphError, Value};
use crate::missing::{Missing, shortened};
use crate::proto::{AttributeType, NodeProto, TensorProto};

/// Dimensions of a value.
const MAX_RANK: usize = 16;
/// Elements of a value in a row of the batch: half a gibibyte.
const MAX_ROW: usize = 1 << 27;
/// Elements of known tensors that all nodes may read and make.
const MAX_FOLDED: usize = 1 << 24;

pub(super) struct Walk<'a> {
    importer: Importer,
    external: &'a External<'a>,
    /// Values of nodes that cannot be imported.
    lost: HashSet<Value>,
    missing: Missing,
    /// Elements of known tensors that were computed with so far.
    folded: usize,
    /// Branches that were taken so far.
    branches: usize,
}

impl<'a> Walk<'a> {
    pub fn new(importer: Importer, external: &'a External<'a>) -> Self {
        Self {
            importer,
            external,
            lost: HashSet::new(),
            missing: Missing::default(),
            folded: 0,
            branches: 0,
        }
    }

    /// The graph with those of its values that `outputs` names.
    ///
    /// # Errors
    /// When something is missing; the message names all of it.
    pub fn finish(mut self, outputs: Vec<String>) -> Result<Imported, DecodeError> {
        let mut found = Vec::with_capacity(outputs.len());
        for output in outputs {
            let value = Value::new(&output);
            if self.lost.contains(&value) {
                continue;
            }
            match self.importer.value(&value) {
                Ok(value) if self.holds_floats(&value) => found.push((output, value)),
                Ok(_) => {
                    let output = shortened(&output, 80);
                    let reason = format!("the output {output} holds no floats");
                    self.missing.add_reason(&reason);
                }
                Err(error) => self.missing.add(error),
            }
        }
        if self.missing.is_empty() {
            return Ok(Imported {
                graph: self.importer.graph,
                outputs: found,
            });
        }
        Err(content(self.missing.to_string()))
    }

    fn holds_floats(&self, value: &Value) -> bool {
        let value_type = self.importer.graph.value_type(value);
        value_type.is_ok_and(|value_type| value_type.element == ElementType::F32)
    }

    /// Imports the nodes that `outputs` need.
    ///
    /// # Errors
    /// When they are in no order; what else is missing is said at the end.
    pub fn run(
        &mut self,
        nodes: &[NodeProto],
        constants: &[TensorProto],
        outputs: &[String],
    ) -> Result<(), DecodeError> {
        let order = needed(nodes, outputs.iter().map(String::as_str))?;
        let mut wanted: HashSet<&str> = outputs.iter().map(String::as_str).collect();
        for &index in &order {
            reads(&nodes[index], &mut |name| {
                wanted.insert(name);
            });
        }
        for tensor in constants {
            let name = tensor.name.as_deref().unwrap_or_default();
            if wanted.contains(name) {
                let value = Value::new(name);
                if self.is_defined(&value) {
                    let name = shortened(name, 80);
                    let reason = format!("the value {name} is given twice");
                    return Err(content(reason));
                }
                self.tensor(value, tensor);
            }
        }
        for index in order {
            self.step(&nodes[index])?;
        }
        Ok(())
    }

    fn is_defined(&self, value: &Value) -> bool {
        self.importer.names.contains_key(value)
            || self.importer.known.contains_key(value)
            || self.lost.contains(value)
    }

    /// A tensor of the file, under the name `value`.
    fn tensor(&mut self, value: Value, tensor: &TensorProto) {
        match read_tensor(tensor, self.external) {
            Ok((shape, elements)) => self.importer.constant(value, shape, elements),
            Err(reason) => {
                self.missing.add_tensor(value.name(), &reason);
                self.lost.insert(value);
            }
        }
    }

    /// Imports a node, or notes what is missing.
    fn step(&mut self, proto: &NodeProto) -> Result<(), DecodeError> {
        if let Some(twice) = proto
            .output
            .iter()
            .map(|o| Value::new(o))
            .find(|output| !output.name().is_empty() && self.is_defined(output))
        {
            return Err(content(format!(
                "the value {} is given twice; every value has one node",
                shortened(twice.name(), 80)
            )));
        }
        let before = self.importer.graph.nodes.len();
        let result = self
            .imported(proto)
            .and_then(|()| Ok(self.check_sizes(proto, before)?));
        if let Err(error) = result {
            match error {
                Failure::Told => {}
                Failure::New(DecodeError::Graph(error)) => self.missing.add(error),
                Failure::New(other) => self.missing.add_reason(&other.to_string()),
            }
            for output in &proto.output {
                let output = Value::new(output);
                self.importer.names.remove(&output);
                self.importer.known.remove(&output);
                self.lost.insert(output);
            }
        }
        Ok(())
    }

    fn reads_lost(&self, proto: &NodeProto) -> bool {
        let mut lost = false;
        reads(proto, &mut |name| {
            lost |= self.lost.contains(&Value::new(name))
        });
        lost
    }

    fn imported(&mut self, proto: &NodeProto) -> Result<(), Failure> {
        let op = proto.op_type.as_deref().unwrap_or_default();
        let name = proto.name.clone().filter(|name| !name.is_empty());
        let name = name.or_else(|| proto.output.first().cloned());
        let domain = proto.domain.as_deref().unwrap_or_default();
        let unknown = |op: String, what| GraphError::UnknownOperator {
            node: name.clone().unwrap_or_default(),
            op,
            what,
            known: readable(),
        };
        if !is_standard(domain) {
            let what = "import rule, as it is not of the standard ONNX domain,";
            return Err(unknown(format!("{domain}::{op}"), what).into());
        }
        let failed = |reason: &str| GraphError::Node {
            node: name.clone().unwrap_or_default(),
            op: op.to_owned(),
            reason: reason.to_owned(),
        };
        if let Some(reason) = lower::refusal(op) {
            return Err(failed(reason).into());
        }
        if op != IF && !FileOp::names().any(|name| name == op) {
            return Err(unknown(op.to_owned(), "import rule").into());
        }
        if op == IF {
            let condition = Value::new(proto.input.first().map_or("", String::as_str));
            if self.lost.contains(&condition) {
                return Err(Failure::Told);
            }
            return self.branch(proto);
        }
        if op == "Constant" && self.constant_tensor(proto) {
            return Ok(());
        }
        let tensor = |tensor: &TensorProto| whole_tensor(tensor, self.external);
        let node = read_node(proto, &tensor)?.parsed(FileOp::parse)?;
        let mut node = node.ok_or_else(|| unknown(op.to_owned(), "import rule"))?;
        if self.reads_lost(proto) {
            return Err(Failure::Told);
        }
        self.name_outputs(&mut node);
        if op == "ConstantOfShape" && !self.name_fill(proto, &mut node) {
            return Err(Failure::Told);
        }
        self.count_folded(&node)?;
        if let Some(known) = fold(&self.importer, &node)? {
            self.folded += known.values.len();
            self.importer.known.insert(node.output(0)?.clone(), known);
            return Ok(());
        }
        // What goes wrong inside is about this node of the file.
        let value = lower::lower(&mut self.importer, &node).map_err(|error| match error {
            GraphError::Node { reason, .. } => node.error(reason),
            other => other,
        })?;
        if let Some(value) = value {
            self.importer.names.insert(node.output(0)?.clone(), value);
        }
        Ok(())
    }

    /// Counts the known elements that `node` reads: many nodes may read the same.
    fn count_folded(&mut self, node: &FileNode) -> Result<(), GraphError> {
        let inputs = node.inputs.iter().flatten();
        let known = inputs.filter_map(|input| self.importer.known.get(input));
        self.folded += known.map(|known| known.values.len()).sum::<usize>();
        if self.folded > MAX_FOLDED {
            let reason = "the file computes too much of what is known before the latents are";
            return Err(node.error(reason));
        }
        Ok(())
    }

    /// An optional output that nobody wants has no name in the file.
    fn name_outputs(&self, node: &mut FileNode) {
        while node.outputs.len() > 1 && node.outputs.last().is_some_and(|o| o.name().is_empty()) {
            node.outputs.pop();
        }
        for output in &mut node.outputs {
            if output.name().is_empty() {
                *output = Value::new(&self.importer.graph.fresh("unused"));
            }
        }
    }

    /// Whether `proto`, a `Constant`, has its value as a tensor, which may be of any type.
    fn constant_tensor(&mut self, proto: &NodeProto) -> bool {
        let tensor = proto.attribute.iter().find_map(|a| a.t.as_ref());
        let (Some(tensor), Some(output)) = (tensor, proto.output.first()) else {
            return false;
        };
        let tensor = TensorProto {
            name: Some(output.clone()),
            ..tensor.clone()
        };
        self.tensor(Value::new(output), &tensor);
        true
    }

    /// Makes what a `ConstantOfShape` is filled with its second input, if it can be read.
    fn name_fill(&mut self, proto: &NodeProto, node: &mut FileNode) -> bool {
        let fill = Value::new(&self.importer.graph.fresh(&format!("{}.value", node.name)));
        let given = proto.attribute.iter().find_map(|a| a.t.as_ref());
        match given {
            Some(tensor) => self.tensor(fill.clone(), tensor),
            None => self
                .importer
                .constant(fill.clone(), vec![1], Elements::Floats(vec![0.0])),
        }
        let is_read = !self.lost.contains(&fill);
        node.inputs.truncate(1);
        node.inputs.push(Some(fill));
        is_read
    }

    /// An `If` whose condition is known is one of its graphs.
    fn branch(&mut self, proto: &NodeProto) -> Result<(), Failure> {
        let failed = |reason: &str| GraphError::Node {
            node: proto.name.clone().unwrap_or_default(),
            op: IF.to_owned(),
            reason: reason.to_owned(),
        };
        let condition = Value::new(proto.input.first().map_or("", String::as_str));
        let condition = self.importer.known.get(&condition).and_then(Known::floats);
        let holds = match condition.as_deref() {
            Some([value]) => *value != 0.0,
            _ => {
                return Err(failed("its condition depends on the latents, or on the batch").into());
            }
        };
        let name = if holds { "then_branch" } else { "else_branch" };
        let graph = proto.attribute.iter().find(|attribute| {
            attribute.name.as_deref() == Some(name)
                && attribute.r#type == Some(AttributeType::Graph.into())
        });
        let graph = graph.and_then(|attribute| attribute.g.as_deref());
        let graph = graph.ok_or_else(|| failed("the branch that is taken is not there"))?;
        self.branches += 1;
        let graph = in_a_scope(graph, &format!("branch{}", self.branches));
        let outputs: Vec<String> = graph
            .output
            .iter()
            .map(|info| info.name.clone().unwrap_or_default())
            .collect();
        self.run(&graph.node, &graph.initializer, &outputs)?;
        for (output, inner) in proto.output.iter().zip(&outputs) {
            let (output, inner) = (Value::new(output), Value::new(inner));
            if let Some(known) = self.importer.known.get(&inner) {
                self.importer.known.insert(output, known.clone());
            } else if let Some(value) = self.importer.names.get(&inner) {
                self.importer.names.insert(output, value.clone());
            } else {
                self.lost.insert(output);
            }
        }
        Ok(())
    }

    /// Sizes that no machine holds are refused before anything runs.
    fn check_sizes(&self, proto: &NodeProto, before: usize) -> Result<(), DecodeError> {
        let outputs = self.importer.graph.nodes[before..]
            .iter()
            .flat_map(|n| &n.outputs);
        for output in outputs {
            let shape = self.importer.graph.shape(output)?;
            let size = |dim: &Dim| match dim {
                Dim::Fixed(size) => *size,
                Dim::Batch => 1,
            };
            let row = shape.iter().map(size).try_fold(1_usize, usize::checked_mul);
            if shape.len() > MAX_RANK || row.is_none_or(|row| row > MAX_ROW) {
                let sizes: Vec<_> = shape.iter().map(Dim::to_string).collect();
                let reason = format!(
                    "it makes values of the shape [{}], which is too large",
                    shortened(&sizes.join(", "), 80)
                );
                let name = proto.name.clone().unwrap_or_default();
                return Err(GraphError::Node {
                    node: name,
                    op: proto.op_type.clone().unwrap_or_default(),
                    reason,
                }
                .into());
            }
        }
        Ok(())
    }
}

/// Why a node is not imported.
enum Failure {
    /// What it reads is not, which was said.
    Told,
    New(DecodeError),
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::New(error)
    }
}

impl From<GraphError> for Failure {
    fn from(error: GraphError) -> Self {
        Self::New(error.into())
    }
}

/// The operator whose attributes are graphs.
pub(super) const IF: &str = "If";
