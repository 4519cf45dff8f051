//! A graph while it is imported: what rules read of the file and append.

use std::collections::HashMap;

use super::known::{Kind, Known, Size};
use super::lower::FileNode;
use crate::codec::Elements;
use crate::graph::{Constant, Dim, ElementType, Graph, GraphError, Node, Op, Value};
use crate::missing::shortened;

/// Elements of all tensors that lowering makes of few bytes of the file.
const MAX_FILLED: usize = 1 << 27;

pub(super) struct Importer {
    pub graph: Graph,
    /// The operator set of the file.
    pub opset: i64,
    /// What the file's values are called in the graph.
    pub names: HashMap<Value, Value>,
    /// The file's values that are known by now.
    pub known: HashMap<Value, Known>,
    /// Elements of tensors that were made so far.
    filled: usize,
}

impl Importer {
    pub fn new(graph: Graph, opset: i64) -> Self {
        Self {
            graph,
            opset,
            names: HashMap::new(),
            known: HashMap::new(),
            filled: 0,
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

    /// Counts elements that a rule makes of few bytes of the file.
    pub fn fill(&mut self, node: &FileNode, elements: Option<usize>) -> Result<(), GraphError> {
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

    /// Appends `op` with `node`'s inputs, all of floats, and names its outputs.
    pub fn copy(&mut self, node: &FileNode, op: Op) -> Result<(), GraphError> {
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
        self.append(node, op, inputs)
    }

    /// Appends `op`, and names its outputs as `node`'s.
    pub fn append(
        &mut self,
        node: &FileNode,
        op: Op,
        inputs: Vec<Option<Value>>,
    ) -> Result<(), GraphError> {
        let mut outputs = Vec::with_capacity(node.outputs.len());
        for output in &node.outputs {
            outputs.push(Value::new(&self.graph.fresh(output.name())));
        }
        self.graph.append(Node {
            name: node.name.clone(),
            op,
            inputs,
            outputs: outputs.clone(),
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
    pub fn value(&mut self, value: &Value) -> Result<Value, GraphError> {
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
    pub fn input(&mut self, node: &FileNode, index: usize) -> Result<Value, GraphError> {
        let value = node.input(index)?;
        let what = match self.known.get(value) {
            Some(known) if known.floats().is_none() => {
                return Err(node.error(
                    "it computes with the number of the batch's rows, which must stay rows: a size of \
                     that many times another is not supported",
                ));
            }
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
    pub fn condition(&mut self, node: &FileNode, index: usize) -> Result<Value, GraphError> {
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
    pub fn ints(&self, node: &FileNode, index: usize) -> Result<Option<Vec<Size>>, GraphError> {
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
    pub fn numbers(&self, node: &FileNode, index: usize) -> Result<Option<Vec<i64>>, GraphError> {
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
    pub fn floats(&mut self, node: &FileNode, index: usize) -> Result<Vec<f32>, GraphError> {
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

/// What a constant of the file is called in the graph, whose outputs may be called as they like.
fn own_name(value: &Value) -> String {
    format!("{}.constant", value.name())
}
