//! The in-memory form of a graph, and the operators of its nodes.

pub(crate) mod attribute;
pub(crate) mod ops;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use crate::tensor::Tensor;
pub use ops::{
    Concat, ConstantNode, Convolution, Elu, Flatten, Gemm, LeakyRelu, Op, Reduction, Shares, Split,
    Transpose,
};

/// The operator set that graphs are written in.
pub const OPSET: i64 = 17;

/// A size that is known when the graph is written, or the free number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// The number of rows of a batch, `B` in the file.
    Batch,
    /// A fixed size.
    Fixed(usize),
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Batch => write!(f, "B"),
            Dim::Fixed(size) => write!(f, "{size}"),
        }
    }
}

/// Sizes of a value's dimensions.
pub type Shape = Vec<Dim>;

/// Element types that graphs of this crate use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementType {
    /// `float`
    F32,
    /// `int64`: shapes and axes
    I64,
    /// `bool`: conditions
    Bool,
}

/// Element type and shape of a value.
#[derive(Clone, Debug, PartialEq)]
pub struct ValueType {
    /// Element type.
    pub element: ElementType,
    /// Sizes of the dimensions.
    pub shape: Shape,
}

/// The name of a tensor that flows along an edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Value(Arc<str>);

impl Value {
    /// The value called `name`.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name in the file.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A tensor that is part of the graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Constant {
    /// Weights.
    F32(Tensor),
    /// Shapes, axes and sizes.
    I64 {
        /// Sizes of the dimensions.
        shape: Vec<usize>,
        /// The values, row major.
        data: Vec<i64>,
    },
}

/// An empty list of integers.
impl Default for Constant {
    fn default() -> Self {
        Self::I64 {
            shape: vec![0],
            data: Vec::new(),
        }
    }
}

impl Constant {
    /// Sizes of the dimensions.
    pub fn shape(&self) -> &[usize] {
        match self {
            Constant::F32(tensor) => &tensor.shape,
            Constant::I64 { shape, .. } => shape,
        }
    }

    pub(super) fn value_type(&self) -> ValueType {
        ValueType {
            element: match self {
                Constant::F32(_) => ElementType::F32,
                Constant::I64 { .. } => ElementType::I64,
            },
            shape: self.shape().iter().map(|&size| Dim::Fixed(size)).collect(),
        }
    }
}

/// One application of an operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<O = Op> {
    /// Name, for messages.
    pub name: String,
    /// The operator with its attributes.
    pub op: O,
    /// Inputs in the operator's order; `None` for an optional one that is left out.
    pub inputs: Vec<Option<Value>>,
    /// Outputs in the operator's order.
    pub outputs: Vec<Value>,
}

impl<O: fmt::Display> Node<O> {
    /// An error about this node.
    pub fn error(&self, reason: impl Into<String>) -> GraphError {
        GraphError::Node {
            node: self.name.clone(),
            op: self.op.to_string(),
            reason: reason.into(),
        }
    }

    /// Input `index`, which the operator requires.
    ///
    /// # Errors
    /// When it is missing.
    pub fn input(&self, index: usize) -> Result<&Value, GraphError> {
        self.optional_input(index)
            .ok_or_else(|| self.error(format!("input {index} is missing")))
    }

    /// Input `index`, if it is there.
    pub fn optional_input(&self, index: usize) -> Option<&Value> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// Output `index`, which the operator always has.
    ///
    /// # Errors
    /// When it is missing.
    pub fn output(&self, index: usize) -> Result<&Value, GraphError> {
        self.outputs
            .get(index)
            .ok_or_else(|| self.error(format!("output {index} is missing")))
    }
}

/// What is wrong with a graph.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// A node's inputs or attributes do not fit its operator.
    #[error("node {node} ({op}): {reason}")]
    Node {
        /// The node's name.
        node: String,
        /// Its operator.
        op: String,
        /// What does not fit.
        reason: String,
    },
    /// An operator that shape inference or differentiation does not know.
    #[error("node {node}: no {what} for operator {op}; operators with one: {known}")]
    UnknownOperator {
        /// The node's name.
        node: String,
        /// Its operator.
        op: String,
        /// What is missing.
        what: &'static str,
        /// The operators that have it.
        known: String,
    },
    /// More than one thing does not fit or is not known.
    #[error("{0}")]
    Several(String),
    /// A value is used that nothing produces.
    #[error("value {0} is used and nothing produces it")]
    UnknownValue(String),
    /// The derivative was asked for with respect to something the function does not depend on.
    #[error("{of} does not depend on {by}, so it has no gradient in it")]
    Independent {
        /// The function's value.
        of: String,
        /// The variable.
        by: String,
    },
}

/// A graph under construction: nodes in an order in which they can run, every value typed.
#[derive(Clone, Debug)]
pub struct Graph {
    pub(super) name: String,
    pub(super) inputs: Vec<Value>,
    pub(super) outputs: Vec<Value>,
    pub(super) nodes: Vec<Node>,
    pub(super) constants: BTreeMap<Value, Constant>,
    pub(super) types: HashMap<Value, ValueType>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            nodes: Vec::new(),
            constants: BTreeMap::new(),
            types: HashMap::new(),
        }
    }

    /// The graph's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Inputs in order.
    pub fn inputs(&self) -> &[Value] {
        &self.inputs
    }

    /// Outputs in order.
    pub fn outputs(&self) -> &[Value] {
        &self.outputs
    }

    /// Nodes in the order in which they run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The graph's own tensors by name.
    pub fn constants(&self) -> &BTreeMap<Value, Constant> {
        &self.constants
    }

    /// Keeps the tensors for which `keep` holds. Values of the others keep their types.
    pub fn retain_constants(&mut self, mut keep: impl FnMut(&Value) -> bool) {
        self.constants.retain(|value, _| keep(value));
    }

    /// Type of `value`.
    pub fn value_type(&self, value: &Value) -> Result<&ValueType, GraphError> {
        self.types
            .get(value)
            .ok_or_else(|| GraphError::UnknownValue(value.to_string()))
    }

    /// Shape of `value`.
    pub fn shape(&self, value: &Value) -> Result<&[Dim], GraphError> {
        Ok(&self.value_type(value)?.shape)
    }

    /// Declares an input of `f32`.
    pub fn input(&mut self, name: &str, shape: &[Dim]) -> Value {
        self.typed_input(
            name,
            ValueType {
                element: ElementType::F32,
                shape: shape.to_vec(),
            },
        )
    }

    pub(super) fn typed_input(&mut self, name: &str, value_type: ValueType) -> Value {
        let value = Value::new(name);
        self.types.insert(value.clone(), value_type);
        self.inputs.push(value.clone());
        value
    }

    /// Adds a tensor under `name`, or under a name of its own when another tensor has that one;
    /// the same tensor is stored once.
    pub fn constant(&mut self, name: &str, constant: Constant) -> Value {
        let mut value = Value::new(name);
        let mut copy = 1;
        while let Some(present) = self.types.get(&value) {
            if self.constants.get(&value) == Some(&constant) && *present == constant.value_type() {
                return value;
            }
            value = Value::new(&format!("{name}.{copy}"));
            copy += 1;
        }
        self.types.insert(value.clone(), constant.value_type());
        self.constants.insert(value.clone(), constant);
        value
    }

    /// Adds weights under `name`.
    pub fn weights(&mut self, name: &str, tensor: Tensor) -> Value {
        self.constant(name, Constant::F32(tensor))
    }

    /// Adds a number.
    pub fn scalar(&mut self, value: f32) -> Value {
        self.constant(
            &format!("scalar_{value}"),
            Constant::F32(Tensor::scalar(value)),
        )
    }

    /// Adds a list of integers.
    pub fn int_list(&mut self, values: &[i64]) -> Value {
        let name = values
            .iter()
            .fold("ints".to_owned(), |name, v| format!("{name}_{v}"));
        self.constant(
            &name,
            Constant::I64 {
                shape: vec![values.len()],
                data: values.to_vec(),
            },
        )
    }

    /// A name that no value has yet.
    pub(super) fn fresh(&self, stem: &str) -> String {
        let mut index = self.nodes.len();
        loop {
            let name = format!("{stem}_{index}");
            if !self.types.contains_key(&Value::new(&name)) {
                return name;
            }
            index += 1;
        }
    }

    /// Removes the nodes and constants that no output needs, and identities between values.
    pub fn simplify(&mut self) {
        self.name_outputs();
        let mut source: HashMap<Value, Value> = HashMap::new();
        self.nodes.retain_mut(|node| {
            for input in node.inputs.iter_mut().flatten() {
                if let Some(original) = source.get(input) {
                    *input = original.clone();
                }
            }
            let inner = node.op == Op::Identity && !self.outputs.contains(&node.outputs[0]);
            if let (true, Some(Some(input))) = (inner, node.inputs.first()) {
                source.insert(node.outputs[0].clone(), input.clone());
            }
            !inner
        });
        let mut needed: HashSet<Value> = self.outputs.iter().cloned().collect();
        let mut kept = vec![false; self.nodes.len()];
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if node.outputs.iter().any(|output| needed.contains(output)) {
                kept[index] = true;
                needed.extend(node.inputs.iter().flatten().cloned());
            }
        }
        let mut keep = kept.into_iter();
        self.nodes.retain(|_| keep.next().unwrap_or(false));
        self.constants.retain(|name, _| needed.contains(name));
    }

    /// Gives a value that is copied to an output the output's name, so that nothing is copied.
    fn name_outputs(&mut self) {
        let mut renamed: HashMap<Value, Value> = HashMap::new();
        for node in &self.nodes {
            let output = &node.outputs[0];
            if let (Op::Identity, Some(Some(input))) = (&node.op, node.inputs.first())
                && self.outputs.contains(output)
                && !self.outputs.contains(input)
                && !self.inputs.contains(input)
                && !self.constants.contains_key(input)
            {
                renamed.entry(input.clone()).or_insert(output.clone());
            }
        }
        self.nodes.retain(|node| {
            let copied = node.inputs.first().and_then(Option::as_ref);
            node.op != Op::Identity
                || copied.and_then(|input| renamed.get(input)) != Some(&node.outputs[0])
        });
        for node in &mut self.nodes {
            let inputs = node.inputs.iter_mut().flatten();
            for value in inputs.chain(&mut node.outputs) {
                if let Some(name) = renamed.get(value) {
                    *value = name.clone();
                }
            }
        }
    }
}
