//! A graph while it is imported.

use std::collections::{HashMap, HashSet};

use super::known::{Kind, Known, Size, fold};
use super::source::needed;
use super::{Imported, lower, readable};
use crate::onnx::codec::{
    DecodeError, Elements, External, content, is_standard, read_node, read_tensor,
};
use crate::onnx::graph::{Constant, Dim, ElementType, Graph, GraphError, Node, Value};
use crate::onnx::missing::{Missing, shortened};
use crate::onnx::ops;
use crate::onnx::proto::{AttributeType, GraphProto, NodeProto, TensorProto};

/// Dimensions of a value.
const MAX_RANK: usize = 16;
/// Elements of a value in a row of the batch: half a gibibyte.
const MAX_ROW: usize = 1 << 27;
/// Elements of all tensors that lowering makes of few bytes of the file.
const MAX_FILLED: usize = 1 << 27;
/// Elements of known tensors that all nodes may read and make.
const MAX_FOLDED: usize = 1 << 24;

pub(super) struct Importer<'a> {
    pub graph: Graph,
    /// The operator set of the file.
    pub opset: i64,
    external: &'a External<'a>,
    /// What the file's values are called in the graph.
    pub names: HashMap<Value, Value>,
    /// The file's values that are known by now.
    pub known: HashMap<Value, Known>,
    /// Values of nodes that cannot be imported.
    lost: HashSet<Value>,
    missing: Missing,
    /// Elements of tensors that were made so far.
    filled: usize,
    /// Elements of known tensors that were computed with so far.
    folded: usize,
    /// Branches that were taken so far.
    branches: usize,
}

impl<'a> Importer<'a> {
    pub fn new(graph: Graph, opset: i64, external: &'a External<'a>) -> Self {
        Self {
            graph,
            opset,
            external,
            names: HashMap::new(),
            known: HashMap::new(),
            lost: HashSet::new(),
            missing: Missing::default(),
            filled: 0,
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
            match self.value(&value) {
                Ok(value) if self.holds_floats(&value) => found.push((output, value)),
                Ok(_) => {
                    let output = shortened(&output, 80);
                    let reason = format!("the output {output} holds no floats");
                    self.missing.add_reason(reason);
                }
                Err(error) => self.missing.add(error),
            }
        }
        if self.missing.is_empty() {
            return Ok(Imported {
                graph: self.graph,
                outputs: found,
            });
        }
        Err(content(self.missing.to_string()))
    }

    fn holds_floats(&self, value: &Value) -> bool {
        let value_type = self.graph.value_type(value);
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
            super::source::reads(&nodes[index], &mut |name| {
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
        self.names.contains_key(value)
            || self.known.contains_key(value)
            || self.lost.contains(value)
    }

    /// A tensor of the file, under the name `value`.
    fn tensor(&mut self, value: Value, tensor: &TensorProto) {
        match read_tensor(tensor, self.external) {
            Ok((shape, elements)) => self.constant(value, shape, elements),
            Err(error) => {
                self.missing.add_reason(error.to_string());
                self.lost.insert(value);
            }
        }
    }

    pub fn constant(&mut self, name: Value, shape: Vec<usize>, elements: Elements) {
        match Known::of(shape, elements) {
            Ok(known) => {
                self.known.insert(name, known);
            }
            Err(weights) => {
                let value = self.graph.weights(&own_name(&name), weights);
                self.names.insert(name, value);
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
        let before = self.graph.nodes.len();
        let result = self
            .imported(proto)
            .and_then(|()| Ok(self.check_sizes(proto, before)?));
        if let Err(error) = result {
            match error {
                Failure::Told => {}
                Failure::New(DecodeError::Graph(error)) => self.missing.add(error),
                Failure::New(other) => self.missing.add_reason(other.to_string()),
            }
            for output in &proto.output {
                let output = Value::new(output);
                self.names.remove(&output);
                self.known.remove(&output);
                self.lost.insert(output);
            }
        }
        Ok(())
    }

    fn reads_lost(&self, proto: &NodeProto) -> bool {
        let mut lost = false;
        super::source::reads(proto, &mut |name| {
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
        let rule = lower::rule(op);
        let copied = ops::names().any(|name| name == op);
        if rule.is_none() && !copied && !KNOWN_ALONE.contains(&op) && op != "If" {
            return Err(unknown(op.to_owned(), "import rule").into());
        }
        if op == "If" {
            let condition = Value::new(proto.input.first().map_or("", String::as_str));
            if self.lost.contains(&condition) {
                return Err(Failure::Told);
            }
            return self.branch(proto);
        }
        if op == "Constant" && self.constant_tensor(proto) {
            return Ok(());
        }
        let tensor = |tensor: &TensorProto| {
            let (shape, elements) = read_tensor(tensor, self.external)?;
            Ok(elements.constant(shape))
        };
        let mut node = read_node(proto, &tensor)?;
        if self.reads_lost(proto) {
            return Err(Failure::Told);
        }
        self.name_outputs(&mut node);
        if op == "ConstantOfShape" && !self.name_fill(proto, &mut node) {
            return Err(Failure::Told);
        }
        self.count_folded(&node)?;
        if let Some(known) = fold(self, &node)? {
            self.folded += known.values.len();
            self.known.insert(node.output(0)?.clone(), known);
            return Ok(());
        }
        if let Some(rule) = rule {
            // What goes wrong inside is about this node of the file.
            let value = rule(self, &node).map_err(|error| match error {
                GraphError::Node { reason, .. } => node.error(reason),
                other => other,
            })?;
            if let Some(value) = value {
                self.names.insert(node.output(0)?.clone(), value);
            }
            return Ok(());
        }
        if !copied {
            return Err(node
                .error("it computes with more than what is known before the latents are")
                .into());
        }
        Ok(self.copy(&node)?)
    }

    /// Counts the known elements that `node` reads: many nodes may read the same.
    fn count_folded(&mut self, node: &Node) -> Result<(), GraphError> {
        let inputs = node.inputs.iter().flatten();
        let known = inputs.filter_map(|input| self.known.get(input));
        self.folded += known.map(|known| known.values.len()).sum::<usize>();
        if self.folded > MAX_FOLDED {
            let reason = "the file computes too much of what is known before the latents are";
            return Err(node.error(reason));
        }
        Ok(())
    }

    /// An optional output that nobody wants has no name in the file.
    fn name_outputs(&self, node: &mut Node) {
        while node.outputs.len() > 1 && node.outputs.last().is_some_and(|o| o.name().is_empty()) {
            node.outputs.pop();
        }
        for output in &mut node.outputs {
            if output.name().is_empty() {
                *output = Value::new(&self.graph.fresh("unused"));
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
    fn name_fill(&mut self, proto: &NodeProto, node: &mut Node) -> bool {
        let fill = Value::new(&self.graph.fresh(&format!("{}.value", node.name)));
        let given = proto.attribute.iter().find_map(|a| a.t.as_ref());
        match given {
            Some(tensor) => self.tensor(fill.clone(), tensor),
            None => self.constant(fill.clone(), vec![1], Elements::Floats(vec![0.0])),
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
            op: "If".to_owned(),
            reason: reason.to_owned(),
        };
        let condition = Value::new(proto.input.first().map_or("", String::as_str));
        let condition = self.known.get(&condition).and_then(Known::floats);
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
            if let Some(known) = self.known.get(&inner) {
                self.known.insert(output, known.clone());
            } else if let Some(value) = self.names.get(&inner) {
                self.names.insert(output, value.clone());
            } else {
                self.lost.insert(output);
            }
        }
        Ok(())
    }

    /// Sizes that no machine holds are refused before anything runs.
    fn check_sizes(&self, proto: &NodeProto, before: usize) -> Result<(), DecodeError> {
        let outputs = self.graph.nodes[before..].iter().flat_map(|n| &n.outputs);
        for output in outputs {
            let shape = self.graph.shape(output)?;
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

    /// Counts elements that a rule makes of few bytes of the file.
    pub fn fill(&mut self, node: &Node, elements: Option<usize>) -> Result<(), GraphError> {
        let total = elements.and_then(|elements| self.filled.checked_add(elements));
        self.filled = total.filter(|&total| total <= MAX_FILLED).ok_or_else(|| {
            node.error(format!(
                "it needs a table of {}, which is too large",
                elements.map_or_else(
                    || "more elements than can be counted".to_owned(),
                    |n| format!("{n} elements")
                )
            ))
        })?;
        Ok(())
    }

    /// Appends a node of an operator that this crate has, of floats.
    pub fn copy(&mut self, node: &Node) -> Result<(), GraphError> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (index, input) in node.inputs.iter().enumerate() {
            inputs.push(match input {
                Some(_) => Some(self.input(node, index)?),
                None => None,
            });
        }
        while inputs.last().is_some_and(Option::is_none) {
            inputs.pop();
        }
        self.append(node, &node.op, inputs)
    }

    /// Appends `op` with `node`'s attributes, and names its outputs.
    pub fn append(
        &mut self,
        node: &Node,
        op: &str,
        inputs: Vec<Option<Value>>,
    ) -> Result<(), GraphError> {
        let mut outputs = Vec::with_capacity(node.outputs.len());
        for output in &node.outputs {
            outputs.push(Value::new(&self.graph.fresh(output.name())));
        }
        self.graph.append(Node {
            op: op.to_owned(),
            inputs,
            outputs: outputs.clone(),
            ..node.clone()
        })?;
        self.names.extend(node.outputs.iter().cloned().zip(outputs));
        Ok(())
    }

    /// Where one of the file's values is in the graph, if it is not known.
    pub fn present(&self, value: &Value) -> Result<&Value, GraphError> {
        let present = self.names.get(value);
        present.ok_or_else(|| GraphError::UnknownValue(shortened(value.name(), 80)))
    }

    /// Where one of the file's values is in the graph; a condition is one of ones and zeros.
    fn value(&mut self, value: &Value) -> Result<Value, GraphError> {
        if let Some(present) = self.names.get(value) {
            return Ok(present.clone());
        }
        let Some(known) = self.known.get(value) else {
            return Err(GraphError::UnknownValue(shortened(value.name(), 80)));
        };
        let constant = known.constant();
        let constant = constant.ok_or_else(|| GraphError::UnknownValue(value.to_string()))?;
        Ok(self.graph.constant(&own_name(value), constant))
    }

    /// Input `index` of a node of the file, in the graph: floats.
    pub fn input(&mut self, node: &Node, index: usize) -> Result<Value, GraphError> {
        let value = node.input(index)?;
        let what = match self.known.get(value) {
            Some(known) if known.kind == Kind::Int => Some("integers"),
            Some(known) if known.kind == Kind::Bool => Some("conditions"),
            Some(_) => None,
            None => match self.graph.value_type(self.present(value)?)?.element {
                ElementType::F32 => None,
                ElementType::I64 => Some("integers"),
                ElementType::Bool => Some("conditions"),
            },
        };
        if let Some(what) = what {
            let value = shortened(value.name(), 80);
            return Err(node.error(format!("its input {value} holds {what}, expected floats")));
        }
        self.value(value)
    }

    /// Input `index` of a node of the file, in the graph: conditions.
    pub fn condition(&mut self, node: &Node, index: usize) -> Result<Value, GraphError> {
        let value = node.input(index)?;
        if let Some(known) = self.known.get(value) {
            if known.kind != Kind::Bool {
                let value = shortened(value.name(), 80);
                return Err(node.error(format!("its input {value} is no condition")));
            }
            let ones = self.value(value)?;
            let half = self.graph.scalar(0.5);
            return self.graph.greater(&ones, &half);
        }
        let present = self.present(value)?.clone();
        if self.graph.value_type(&present)?.element != ElementType::Bool {
            let value = shortened(value.name(), 80);
            return Err(node.error(format!("its input {value} is no condition")));
        }
        Ok(present)
    }

    /// The integers that input `index` holds, if the node has it.
    pub fn ints(&self, node: &Node, index: usize) -> Result<Option<Vec<Size>>, GraphError> {
        let Some(value) = node.optional_input(index) else {
            return Ok(None);
        };
        let name = shortened(value.name(), 80);
        match self.known.get(value) {
            Some(known) => known
                .sizes()
                .map(Some)
                .ok_or_else(|| node.error(format!("its input {name} holds no integers"))),
            None => {
                self.present(value)?;
                Err(node.error(format!("its input {name} depends on the latents")))
            }
        }
    }

    /// The same, where all are numbers.
    pub fn numbers(&self, node: &Node, index: usize) -> Result<Option<Vec<i64>>, GraphError> {
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

    /// The axes that a node names: an attribute in older operator sets, input `index` in newer ones.
    pub fn axes(&self, node: &Node, index: usize) -> Result<Option<Vec<i64>>, GraphError> {
        match node.ints("axes") {
            Some(axes) => Ok(Some(axes.to_vec())),
            None => self.numbers(node, index),
        }
    }

    /// The floats that input `index` holds, where it is a constant.
    pub fn floats(&mut self, node: &Node, index: usize) -> Result<Vec<f32>, GraphError> {
        let value = self.input(node, index)?;
        match self.graph.constants().get(&value) {
            Some(Constant::F32(tensor)) => Ok(tensor.data.clone()),
            _ => Err(node.error(format!("its input {value} is not a constant"))),
        }
    }

    /// `x` in every row of the batch, along `axis` of its own, which has the size 1.
    pub fn in_every_row(&mut self, x: &Value, axis: usize) -> Result<Value, GraphError> {
        let latents = self.graph.inputs.first().cloned();
        let latents = latents.ok_or_else(|| GraphError::UnknownValue("the latents".to_owned()))?;
        let mut sizes = vec![1; self.graph.shape(x)?.len()];
        if let Some(size) = sizes.get_mut(axis) {
            *size = -1;
        }
        // Which branch is taken says nothing: both are x.
        let first = self.graph.slice(&latents, 1, 0, 1)?;
        let first = self.graph.reshape(&first, &sizes)?;
        let zero = self.graph.scalar(0.0);
        let either = self.graph.greater(&first, &zero)?;
        self.graph.select(&either, x, x)
    }

    /// `x` in the shape `dims`, of as many elements.
    pub fn reshaped(&mut self, x: &Value, dims: &[Dim]) -> Result<Value, GraphError> {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => *size as i64,
            Dim::Batch => -1,
        };
        let sizes: Vec<i64> = dims.iter().map(size).collect();
        self.graph.reshape(x, &sizes)
    }

    /// `x` with its axes in the order `axes`; as it is, where that is theirs.
    pub fn transposed(&mut self, x: &Value, axes: &[usize]) -> Result<Value, GraphError> {
        if axes.iter().copied().eq(0..axes.len()) {
            return Ok(x.clone());
        }
        self.graph.transpose(x, axes)
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

/// What a constant of the file is called in the graph, whose outputs may be called as they like.
fn own_name(value: &Value) -> String {
    format!("{}.constant", value.name())
}

/// Operators of sizes, which have no form in the graph.
const KNOWN_ALONE: &[&str] = &["CastLike", "NonZero", "Range", "ReduceProd", "Size"];

/// `graph` with the names of its own values made unlike all others.
fn in_a_scope(graph: &GraphProto, prefix: &str) -> GraphProto {
    let nodes = graph.node.iter().flat_map(|node| &node.output);
    let tensors = graph.initializer.iter().filter_map(|t| t.name.as_ref());
    let own: HashSet<String> = nodes.chain(tensors).cloned().collect();
    let mut graph = graph.clone();
    rename(&mut graph, &own, prefix);
    graph
}

fn rename(graph: &mut GraphProto, own: &HashSet<String>, prefix: &str) {
    let renamed = |name: &mut String| {
        if !name.is_empty() && own.contains(name) {
            *name = format!("{prefix}/{name}");
        }
    };
    for node in &mut graph.node {
        node.input
            .iter_mut()
            .chain(&mut node.output)
            .for_each(renamed);
        for attribute in &mut node.attribute {
            if let Some(inner) = &mut attribute.g {
                rename(inner, own, prefix);
            }
        }
    }
    let tensors = graph.initializer.iter_mut().filter_map(|t| t.name.as_mut());
    tensors.for_each(renamed);
    let outputs = graph.output.iter_mut().filter_map(|o| o.name.as_mut());
    outputs.for_each(renamed);
}
