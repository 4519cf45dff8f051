//! Bytes to graphs.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};

use prost::Message;

use crate::graph::attribute::{Attribute, Attributes, Operator};
use crate::graph::{Constant, Dim, ElementType, Graph, GraphError, Node, Op, Value, ValueType};
use crate::proto::{
    AttributeType, DataType, DimensionValue, ModelProto, NodeProto, TensorProto, ValueInfoProto,
};

use super::tensor::{External, read_tensor};

/// What is wrong with the bytes of an `.onnx` file.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are no ONNX model.
    #[error("it is not an ONNX model: {0}")]
    NotOnnx(#[from] prost::DecodeError),
    /// Something in it is missing or not supported.
    #[error("{0}")]
    Content(String),
    /// A node does not fit its operator.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

pub(crate) fn content(reason: impl Into<String>) -> DecodeError {
    DecodeError::Content(reason.into())
}

/// Names and shapes of a model's inputs and outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// Inputs in order.
    pub inputs: Vec<(String, ValueType)>,
    /// Outputs in order.
    pub outputs: Vec<(String, ValueType)>,
}

/// Reads what a model takes and gives, without looking at its nodes.
///
/// # Errors
/// When the bytes are no ONNX model, or a type is not supported.
pub fn signature(bytes: &[u8]) -> Result<Signature, DecodeError> {
    let graph = ModelProto::decode(bytes)?
        .graph
        .ok_or_else(|| content("it holds no graph"))?;
    let list =
        |infos: &[ValueInfoProto]| infos.iter().map(read_info).collect::<Result<Vec<_>, _>>();
    Ok(Signature {
        inputs: list(&graph.input)?,
        outputs: list(&graph.output)?,
    })
}

pub(crate) fn read_info(info: &ValueInfoProto) -> Result<(String, ValueType), DecodeError> {
    let name = info.name.clone().unwrap_or_default();
    let tensor = info
        .r#type
        .as_ref()
        .and_then(|kind| kind.tensor_type.as_ref());
    let tensor = tensor.ok_or_else(|| content(format!("{name} is not a tensor")))?;
    let element = match tensor
        .elem_type
        .and_then(|code| DataType::try_from(code).ok())
    {
        Some(DataType::Float) => ElementType::F32,
        Some(DataType::Int64) => ElementType::I64,
        Some(DataType::Bool) => ElementType::Bool,
        _ => {
            return Err(content(format!(
                "{name} has elements of the type {}; float32, int64 and bool are supported",
                DataType::describe(tensor.elem_type)
            )));
        }
    };
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    let shape = dims
        .iter()
        .map(|dim| match &dim.value {
            Some(DimensionValue::Size(size)) => usize::try_from(*size)
                .map(Dim::Fixed)
                .map_err(|_| content(format!("{name} has the size {size}"))),
            _ => Ok(Dim::Batch),
        })
        .collect::<Result<_, _>>()?;
    Ok((name, ValueType { element, shape }))
}

/// What a file holds, before anybody looks at what its operators mean.
#[derive(Debug)]
struct Model {
    name: String,
    /// Inputs that are no constants.
    inputs: Vec<(String, ValueType)>,
    constants: Vec<(Value, Constant)>,
    nodes: Vec<RawNode>,
    outputs: Vec<Value>,
}

/// Reads a file as it is, but for weights in half precision: they are in single precision, which a
/// `Cast` makes them.
fn read(bytes: &[u8], external: &External) -> Result<Model, DecodeError> {
    let model = ModelProto::decode(bytes)?;
    let graph = model.graph.ok_or_else(|| content("it holds no graph"))?;
    let mut constants = Vec::new();
    let mut halves = HashMap::new();
    for tensor in &graph.initializer {
        let name = Value::new(tensor.name.as_deref().unwrap_or_default());
        if tensor.data_type == Some(DataType::Float16.into()) {
            halves.insert(name, whole_tensor(tensor, external)?);
        } else {
            constants.push((name, own_tensor(tensor, external)?));
        }
    }
    let mut nodes = Vec::new();
    for node in &graph.node {
        if !node.domain.as_deref().is_none_or(is_standard) {
            let (name, op) = (node.name.as_deref(), node.op_type.as_deref());
            return Err(content(format!(
                "node {} ({}) is not of the standard ONNX domain",
                name.unwrap_or_default(),
                op.unwrap_or_default()
            )));
        }
        let node = read_node(node, &|tensor| own_tensor(tensor, external))?;
        let mut inputs = node.inputs.iter().flatten();
        match inputs.find_map(|input| halves.get(input)) {
            None => nodes.push(node),
            Some(constant) if is_cast_to_float(&node) => {
                let output = node.outputs.first();
                let output = output.ok_or_else(|| node.error("output 0 is missing"))?;
                constants.push((output.clone(), constant.clone()));
            }
            Some(_) => {
                return Err(content(format!(
                    "node {} ({}) computes with weights in half precision; only a Cast to float \
                     may read them",
                    node.name, node.op
                )));
            }
        }
    }
    let names: HashSet<&str> = constants
        .iter()
        .map(|(name, _)| name)
        .chain(halves.keys())
        .map(Value::name)
        .collect();
    let inputs = graph
        .input
        .iter()
        .filter(|info| !names.contains(info.name.as_deref().unwrap_or_default()))
        .map(read_info)
        .collect::<Result<_, _>>()?;
    Ok(Model {
        name: graph.name.clone().unwrap_or_else(|| "graph".to_owned()),
        inputs,
        nodes,
        outputs: graph
            .output
            .iter()
            .map(|info| Value::new(info.name.as_deref().unwrap_or_default()))
            .collect(),
        constants,
    })
}

/// A tensor of a type that this crate writes.
fn own_tensor(proto: &TensorProto, external: &External) -> Result<Constant, DecodeError> {
    let written = [DataType::Float, DataType::Int64, DataType::Int32];
    if !written
        .iter()
        .any(|&code| proto.data_type == Some(code.into()))
    {
        return Err(content(format!(
            "tensor {} has elements of the type {}; float32, int64 and int32 are expected",
            proto.name.as_deref().unwrap_or("constant"),
            DataType::describe(proto.data_type)
        )));
    }
    whole_tensor(proto, external)
}

/// A tensor of any type that can be read, or a message with its name.
pub(crate) fn whole_tensor(
    proto: &TensorProto,
    external: &External,
) -> Result<Constant, DecodeError> {
    let named = |reason| {
        let name = proto.name.as_deref().filter(|name| !name.is_empty());
        content(format!("tensor {} {reason}", name.unwrap_or("constant")))
    };
    let (shape, elements) = read_tensor(proto, external).map_err(named)?;
    Ok(elements.constant(shape))
}

/// Reads a graph that this crate wrote. `external` returns `length` bytes at `offset` of the named
/// file beside it.
///
/// # Errors
/// When the bytes are no ONNX model, or it uses what this crate does not know; the message names
/// the node or the tensor.
pub fn decode(
    bytes: &[u8],
    external: &dyn Fn(&str, usize, usize) -> Option<Vec<u8>>,
) -> Result<Graph, DecodeError> {
    decode_with(bytes, &|file, offset, length| {
        external(file, offset, length).ok_or_else(|| format!("is not in {file}"))
    })
}

fn decode_with(bytes: &[u8], external: &External) -> Result<Graph, DecodeError> {
    let model = read(bytes, external)?;
    let mut graph = Graph::new(&model.name);
    for (name, constant) in model.constants {
        graph.constant(name.name(), constant);
    }
    for (name, value_type) in model.inputs {
        graph.typed_input(&name, value_type);
    }
    for node in model.nodes {
        graph.append(known(node)?)?;
    }
    for output in model.outputs {
        graph.value_type(&output)?;
        graph.outputs.push(output);
    }
    Ok(graph)
}

/// A node of the file whose operator graphs have.
fn known(node: RawNode) -> Result<Node, GraphError> {
    let (name, op) = (node.name.clone(), node.op.clone());
    let known = node.parsed(Op::parse)?;
    known.ok_or_else(|| GraphError::UnknownOperator {
        node: name,
        op,
        what: "shape rule",
        known: Op::NAMES.join(", "),
    })
}

/// The most bytes of weights in other files that [`decode_shapes`] makes zeros for: what lies about its size must not
/// take the memory.
const MOST_WEIGHT_BYTES: usize = 1 << 30;

/// [`decode`] with zeros for the weights, for a reader of shapes.
///
/// # Errors
/// Those of [`decode`], and when the weights are larger than 1 GiB.
pub fn decode_shapes(bytes: &[u8]) -> Result<Graph, DecodeError> {
    let total = Cell::new(0_usize);
    decode_with(bytes, &|_, _, length| {
        total.set(total.get().saturating_add(length));
        if total.get() > MOST_WEIGHT_BYTES {
            return Err(format!(
                "has {length} bytes and makes the weights larger than {MOST_WEIGHT_BYTES} bytes, the most that \
                 are read"
            ));
        }
        Ok(vec![0; length])
    })
}

/// Whether the domain is that of the ONNX standard.
pub fn is_standard(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

/// A node as a file has it, of any operator.
#[derive(Debug)]
pub(crate) struct RawNode {
    name: String,
    op: String,
    inputs: Vec<Option<Value>>,
    outputs: Vec<Value>,
    attributes: Attributes,
}

impl RawNode {
    fn error(&self, reason: impl Into<String>) -> GraphError {
        GraphError::Node {
            node: self.name.clone(),
            op: self.op.clone(),
            reason: reason.into(),
        }
    }

    /// The node with the operator that `parse` makes of its name and of all its attributes; `None` if
    /// that makes none.
    ///
    /// # Errors
    /// When an attribute is missing, is not of its type, or is none of the operator's.
    pub(crate) fn parsed<O>(
        mut self,
        parse: impl FnOnce(&str, &mut Attributes) -> Result<Option<O>, String>,
    ) -> Result<Option<Node<O>>, GraphError> {
        let op = parse(&self.op, &mut self.attributes).and_then(|op| {
            match (&op, self.attributes.first_key_value()) {
                (Some(_), Some((name, _))) => Err(format!("its attribute {name} is not known")),
                _ => Ok(op),
            }
        });
        let op = op.map_err(|reason| self.error(reason))?;
        Ok(op.map(|op| Node {
            name: self.name,
            op,
            inputs: self.inputs,
            outputs: self.outputs,
        }))
    }
}

/// A node, its tensors read by `tensor`.
///
/// # Errors
/// When an attribute is of a kind that is not supported.
pub(crate) fn read_node(
    proto: &NodeProto,
    tensor: &dyn Fn(&TensorProto) -> Result<Constant, DecodeError>,
) -> Result<RawNode, DecodeError> {
    let op = proto.op_type.clone().unwrap_or_default();
    let name = proto.name.clone().filter(|name| !name.is_empty());
    let name = name
        .or_else(|| proto.output.first().cloned())
        .unwrap_or_default();
    let attributes = proto
        .attribute
        .iter()
        .map(|attribute| {
            let key = attribute.name.clone().unwrap_or_default();
            let value = match attribute
                .r#type
                .and_then(|code| AttributeType::try_from(code).ok())
            {
                Some(AttributeType::Int) => Attribute::Int(attribute.i.unwrap_or_default()),
                Some(AttributeType::Float) => Attribute::Float(attribute.f.unwrap_or_default()),
                Some(AttributeType::String) => Attribute::String(
                    String::from_utf8_lossy(attribute.s.as_deref().unwrap_or_default())
                        .into_owned(),
                ),
                Some(AttributeType::Ints) => Attribute::Ints(attribute.ints.clone()),
                Some(AttributeType::Floats) => Attribute::Floats(attribute.floats.clone()),
                Some(AttributeType::Tensor) => {
                    let empty = || content(format!("{key} is empty"));
                    Attribute::Tensor(tensor(attribute.t.as_ref().ok_or_else(empty)?)?)
                }
                _ => {
                    return Err(content(format!(
                        "node {name} ({op}): attribute {key} is not supported"
                    )));
                }
            };
            Ok((key, value))
        })
        .collect::<Result<_, DecodeError>>()?;
    let value = |name: &String| (!name.is_empty()).then(|| Value::new(name));
    Ok(RawNode {
        inputs: proto.input.iter().map(value).collect(),
        outputs: proto.output.iter().map(|name| Value::new(name)).collect(),
        name,
        op,
        attributes,
    })
}

fn is_cast_to_float(node: &RawNode) -> bool {
    let float = Attribute::Int(DataType::Float as i64);
    node.op == "Cast" && node.attributes.get("to") == Some(&float)
}
