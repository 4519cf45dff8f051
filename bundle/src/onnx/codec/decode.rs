//! Bytes to graphs.

use std::collections::{HashMap, HashSet};

use half::f16;
use prost::Message;

use crate::onnx::graph::{
    Attribute, Constant, Dim, ElementType, Graph, GraphError, Node, Value, ValueType,
};
use crate::onnx::proto::{
    AttributeType, DataLocation, DataType, DimensionValue, ModelProto, NodeProto, TensorProto,
    ValueInfoProto,
};
use crate::tensor::Tensor;

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

fn content(reason: impl Into<String>) -> DecodeError {
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

fn read_info(info: &ValueInfoProto) -> Result<(String, ValueType), DecodeError> {
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
                "{name} has an element type that is not supported"
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
pub(in crate::onnx) struct Model {
    pub name: String,
    /// The version of the standard operators.
    pub opset: i64,
    /// Inputs that are no constants.
    pub inputs: Vec<(String, ValueType)>,
    pub constants: Vec<(Value, Constant)>,
    pub nodes: Vec<Node>,
    pub outputs: Vec<Value>,
}

/// Reads a file as it is, but for weights in half precision: they are in single precision, which a
/// `Cast` makes them. `external` returns `length` bytes at `offset` of the named file beside it.
///
/// # Errors
/// When the bytes are no ONNX model, or a tensor or an attribute is of a type that is not
/// supported.
pub(in crate::onnx) fn read(
    bytes: &[u8],
    external: &dyn Fn(&str, usize, usize) -> Option<Vec<u8>>,
) -> Result<Model, DecodeError> {
    let model = ModelProto::decode(bytes)?;
    let graph = model.graph.ok_or_else(|| content("it holds no graph"))?;
    let standard = |domain: &Option<String>| domain.as_deref().is_none_or(is_standard);
    let opset = model.opset_import.iter().find(|set| standard(&set.domain));
    let mut constants = Vec::new();
    let mut halves = HashMap::new();
    for tensor in &graph.initializer {
        let name = Value::new(tensor.name.as_deref().unwrap_or_default());
        if tensor.data_type == Some(DataType::Float16.into()) {
            halves.insert(name, read_tensor(&widened(tensor, external)?, external)?);
        } else {
            constants.push((name, read_tensor(tensor, external)?));
        }
    }
    let mut nodes = Vec::new();
    for node in &graph.node {
        let node = read_node(node, external)?;
        let mut inputs = node.inputs.iter().flatten();
        match inputs.find_map(|input| halves.get(input)) {
            None => nodes.push(node),
            Some(constant) if is_cast_to_float(&node) => {
                constants.push((node.output(0)?.clone(), constant.clone()));
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
        opset: opset.and_then(|set| set.version).unwrap_or_default(),
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
    let model = read(bytes, external)?;
    let mut graph = Graph::new(&model.name);
    for (name, constant) in model.constants {
        graph.constant(name.name(), constant);
    }
    for (name, value_type) in model.inputs {
        graph.typed_input(&name, value_type);
    }
    for node in model.nodes {
        graph.append(node)?;
    }
    for output in model.outputs {
        graph.value_type(&output)?;
        graph.outputs.push(output);
    }
    Ok(graph)
}

/// [`decode`] with any weights at all, for who looks at shapes alone.
pub(crate) fn decode_shapes(bytes: &[u8]) -> Result<Graph, DecodeError> {
    // What lies about its size must not take the memory.
    const MOST_BYTES: usize = 1 << 30;
    decode(bytes, &|_, _, length| {
        (length <= MOST_BYTES).then(|| vec![0; length])
    })
}

pub(in crate::onnx) fn is_standard(domain: &str) -> bool {
    domain.is_empty() || domain == "ai.onnx"
}

fn read_node(
    proto: &NodeProto,
    external: &dyn Fn(&str, usize, usize) -> Option<Vec<u8>>,
) -> Result<Node, DecodeError> {
    let op = proto.op_type.clone().unwrap_or_default();
    let name = proto.name.clone().filter(|name| !name.is_empty());
    let name = name
        .or_else(|| proto.output.first().cloned())
        .unwrap_or_default();
    if !proto.domain.as_deref().is_none_or(is_standard) {
        return Err(content(format!(
            "node {name} ({op}) is not of the standard ONNX domain"
        )));
    }
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
                    let tensor = attribute
                        .t
                        .as_ref()
                        .ok_or_else(|| content(format!("{key} is empty")))?;
                    Attribute::Tensor(read_tensor(tensor, external)?)
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
    Ok(Node {
        inputs: proto.input.iter().map(value).collect(),
        outputs: proto.output.iter().map(|name| Value::new(name)).collect(),
        name,
        op,
        attributes,
    })
}

fn is_cast_to_float(node: &Node) -> bool {
    node.op == "Cast" && node.int("to", 0) == DataType::Float as i64
}

/// A tensor in half precision as one in single precision.
fn widened(
    proto: &TensorProto,
    external: &dyn Fn(&str, usize, usize) -> Option<Vec<u8>>,
) -> Result<TensorProto, DecodeError> {
    let half = read_raw(proto, external)?.unwrap_or_default();
    let single = from_le(&half, f16::from_le_bytes).into_iter();
    Ok(TensorProto {
        dims: proto.dims.clone(),
        data_type: Some(DataType::Float.into()),
        name: proto.name.clone(),
        raw_data: Some(single.flat_map(|v| v.to_f32().to_le_bytes()).collect()),
        ..TensorProto::default()
    })
}

fn read_tensor(
    proto: &TensorProto,
    external: &dyn Fn(&str, usize, usize) -> Option<Vec<u8>>,
) -> Result<Constant, DecodeError> {
    let name = proto.name.as_deref().unwrap_or("constant");
    let shape: Vec<usize> = proto
        .dims
        .iter()
        .map(|&size| {
            usize::try_from(size).map_err(|_| content(format!("tensor {name} has the size {size}")))
        })
        .collect::<Result<_, _>>()?;
    let raw = read_raw(proto, external)?;
    let constant = match proto
        .data_type
        .and_then(|code| DataType::try_from(code).ok())
    {
        Some(DataType::Float) => Constant::F32(Tensor {
            shape,
            data: raw.map_or_else(
                || proto.float_data.clone(),
                |raw| from_le(&raw, f32::from_le_bytes),
            ),
        }),
        Some(DataType::Int64) => Constant::I64 {
            shape,
            data: raw.map_or_else(
                || proto.int64_data.clone(),
                |raw| from_le(&raw, i64::from_le_bytes),
            ),
        },
        // Axes and counts, which this crate keeps as int64.
        Some(DataType::Int32) => Constant::I64 {
            shape,
            data: raw
                .map_or_else(
                    || proto.int32_data.clone(),
                    |raw| from_le(&raw, i32::from_le_bytes),
                )
                .into_iter()
                .map(i64::from)
                .collect(),
        },
        _ => {
            return Err(content(format!(
                "tensor {name} has elements of a type that is not supported; float32, int64 and \
                 int32 are"
            )));
        }
    };
    let count = match &constant {
        Constant::F32(tensor) => tensor.data.len(),
        Constant::I64 { data, .. } => data.len(),
    };
    let wanted = constant
        .shape()
        .iter()
        .try_fold(1_usize, |total, &size| total.checked_mul(size));
    if wanted == Some(count) {
        Ok(constant)
    } else {
        Err(content(format!(
            "tensor {name} of shape {:?} holds {count} values",
            constant.shape()
        )))
    }
}

/// The bytes of the values, unless they are in a field of their type.
fn read_raw(
    proto: &TensorProto,
    external: &dyn Fn(&str, usize, usize) -> Option<Vec<u8>>,
) -> Result<Option<Vec<u8>>, DecodeError> {
    if proto.data_location != Some(DataLocation::External.into()) {
        return Ok(proto.raw_data.clone());
    }
    let entry = |key: &str| {
        let found = proto
            .external_data
            .iter()
            .find(|entry| entry.key.as_deref() == Some(key));
        found.and_then(|entry| entry.value.as_deref())
    };
    let number = |key: &str| entry(key).and_then(|text| text.parse::<usize>().ok());
    let file = entry("location").unwrap_or_default();
    let bytes = number("length")
        .and_then(|length| external(file, number("offset").unwrap_or(0), length))
        .ok_or_else(|| {
            let name = proto.name.as_deref().unwrap_or("constant");
            content(format!("tensor {name} is not in {file}"))
        })?;
    Ok(Some(bytes))
}

fn from_le<T, const N: usize>(raw: &[u8], convert: fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>()
        .0
        .iter()
        .map(|bytes| convert(*bytes))
        .collect()
}
