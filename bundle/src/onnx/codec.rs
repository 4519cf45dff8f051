//! Graphs to and from the bytes of `.onnx` files.

use prost::Message;
use std::collections::BTreeMap;

use super::OPSET;
use super::graph::{
    Attribute, Constant, Dim, ElementType, Graph, GraphError, Node, Value, ValueType,
};
use super::proto::{
    AttributeProto, AttributeType, DataLocation, DataType, DimensionProto, DimensionValue,
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::tensor::Tensor;

const IR_VERSION: i64 = 8;
/// Tensors below this stay in the `.onnx` file, where ONNX Runtime's shape inference needs them.
const EXTERNAL_FROM_BYTES: usize = 256;
/// What ONNX recommends for files that are mapped into memory.
const ALIGNMENT_BYTES: usize = 64;

/// Tensors kept beside the `.onnx` files, each once however many graphs use it.
#[derive(Debug)]
pub struct ExternalData {
    file_name: String,
    bytes: Vec<u8>,
    offsets: BTreeMap<Vec<u8>, usize>,
}

impl ExternalData {
    /// Nothing yet; the graphs will name `file_name`, relative to their own folder.
    pub fn new(file_name: &str) -> Self {
        Self {
            file_name: file_name.to_owned(),
            bytes: Vec::new(),
            offsets: BTreeMap::new(),
        }
    }

    /// What the file must hold.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn put(&mut self, raw: &[u8]) -> usize {
        if let Some(&offset) = self.offsets.get(raw) {
            return offset;
        }
        self.bytes
            .resize(self.bytes.len().next_multiple_of(ALIGNMENT_BYTES), 0);
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(raw);
        self.offsets.insert(raw.to_vec(), offset);
        offset
    }
}

/// The bytes of the `.onnx` file of `graph`; with `external`, its larger tensors go there.
///
/// # Errors
/// When an input or output has no type.
pub fn encode(
    graph: &Graph,
    mut external: Option<&mut ExternalData>,
) -> Result<Vec<u8>, GraphError> {
    let initializer = graph
        .constants()
        .iter()
        .map(|(name, constant)| tensor_proto(name.name(), constant, external.as_deref_mut()))
        .collect();
    let info = |values: &[Value]| -> Result<Vec<_>, GraphError> {
        values
            .iter()
            .map(|value| Ok(value_info(value, graph.value_type(value)?)))
            .collect()
    };
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        producer_name: Some("lfbm".to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(OPSET),
        }],
        graph: Some(GraphProto {
            name: Some(graph.name().to_owned()),
            node: graph.nodes().iter().map(node_proto).collect(),
            initializer,
            input: info(graph.inputs())?,
            output: info(graph.outputs())?,
        }),
    };
    Ok(model.encode_to_vec())
}

fn value_info(value: &Value, value_type: &ValueType) -> ValueInfoProto {
    let dim = value_type
        .shape
        .iter()
        .map(|dim| DimensionProto {
            value: Some(match dim {
                Dim::Batch => DimensionValue::Parameter("B".to_owned()),
                Dim::Fixed(size) => DimensionValue::Size(*size as i64),
            }),
        })
        .collect();
    let data_type = match value_type.element {
        ElementType::F32 => DataType::Float,
        ElementType::I64 => DataType::Int64,
        ElementType::Bool => DataType::Bool,
    };
    ValueInfoProto {
        name: Some(value.to_string()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(data_type.into()),
                shape: Some(TensorShapeProto { dim }),
            }),
        }),
    }
}

fn tensor_proto(
    name: &str,
    constant: &Constant,
    external: Option<&mut ExternalData>,
) -> TensorProto {
    let (data_type, raw): (_, Vec<u8>) = match constant {
        Constant::F32(tensor) => (
            DataType::Float,
            tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        Constant::I64 { data, .. } => (
            DataType::Int64,
            data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
    };
    let mut proto = TensorProto {
        dims: constant.shape().iter().map(|&size| size as i64).collect(),
        data_type: Some(data_type.into()),
        name: Some(name.to_owned()),
        ..TensorProto::default()
    };
    match external.filter(|_| raw.len() >= EXTERNAL_FROM_BYTES) {
        Some(external) => {
            let offset = external.put(&raw);
            let entry = |key: &str, value: String| StringStringEntryProto {
                key: Some(key.to_owned()),
                value: Some(value),
            };
            proto.data_location = Some(DataLocation::External.into());
            proto.external_data = vec![
                entry("location", external.file_name.clone()),
                entry("offset", offset.to_string()),
                entry("length", raw.len().to_string()),
            ];
        }
        None => proto.raw_data = Some(raw),
    }
    proto
}

fn node_proto(node: &Node) -> NodeProto {
    NodeProto {
        input: node
            .inputs
            .iter()
            .map(|v| v.as_ref().map_or_else(String::new, Value::to_string))
            .collect(),
        output: node.outputs.iter().map(Value::to_string).collect(),
        name: Some(node.name.clone()),
        op_type: Some(node.op.clone()),
        attribute: node
            .attributes
            .iter()
            .map(|(name, value)| attribute_proto(name, value))
            .collect(),
        domain: None,
    }
}

fn attribute_proto(name: &str, attribute: &Attribute) -> AttributeProto {
    let mut proto = AttributeProto {
        name: Some(name.to_owned()),
        ..AttributeProto::default()
    };
    let kind = match attribute {
        Attribute::Int(value) => {
            proto.i = Some(*value);
            AttributeType::Int
        }
        Attribute::Float(value) => {
            proto.f = Some(*value);
            AttributeType::Float
        }
        Attribute::String(value) => {
            proto.s = Some(value.clone().into_bytes());
            AttributeType::String
        }
        Attribute::Ints(values) => {
            proto.ints = values.clone();
            AttributeType::Ints
        }
        Attribute::Floats(values) => {
            proto.floats = values.clone();
            AttributeType::Floats
        }
        Attribute::Tensor(constant) => {
            proto.t = Some(tensor_proto("", constant, None));
            AttributeType::Tensor
        }
    };
    proto.r#type = Some(kind.into());
    proto
}

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

/// Reads a graph. `external` returns `length` bytes at `offset` of the named file beside it.
///
/// # Errors
/// When the bytes are no ONNX model, or it uses what this crate does not know; the message names
/// the node or the tensor.
pub fn decode(
    bytes: &[u8],
    external: &dyn Fn(&str, usize, usize) -> Option<Vec<u8>>,
) -> Result<Graph, DecodeError> {
    let proto = ModelProto::decode(bytes)?
        .graph
        .ok_or_else(|| content("it holds no graph"))?;
    let mut graph = Graph::new(proto.name.as_deref().unwrap_or("graph"));
    for tensor in &proto.initializer {
        let constant = read_tensor(tensor, external)?;
        graph.constant(tensor.name.as_deref().unwrap_or_default(), constant);
    }
    for info in &proto.input {
        let (name, value_type) = read_info(info)?;
        if !graph.constants.contains_key(&Value::new(&name)) {
            graph.typed_input(&name, value_type);
        }
    }
    for node in &proto.node {
        graph.append(read_node(node, external)?)?;
    }
    for info in &proto.output {
        let value = Value::new(info.name.as_deref().unwrap_or_default());
        graph.value_type(&value)?;
        graph.outputs.push(value);
    }
    Ok(graph)
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
    if proto
        .domain
        .as_deref()
        .is_some_and(|domain| !domain.is_empty() && domain != "ai.onnx")
    {
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
    let raw = match (
        &proto.raw_data,
        proto.data_location == Some(DataLocation::External.into()),
    ) {
        (_, true) => Some(read_external(proto, name, external)?),
        (Some(raw), false) => Some(raw.clone()),
        (None, false) => None,
    };
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
        _ => {
            return Err(content(format!(
                "tensor {name} has an element type that is not supported"
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

fn read_external(
    proto: &TensorProto,
    name: &str,
    external: &dyn Fn(&str, usize, usize) -> Option<Vec<u8>>,
) -> Result<Vec<u8>, DecodeError> {
    let entry = |key: &str| {
        let found = proto
            .external_data
            .iter()
            .find(|entry| entry.key.as_deref() == Some(key));
        found.and_then(|entry| entry.value.as_deref())
    };
    let number = |key: &str| entry(key).and_then(|text| text.parse::<usize>().ok());
    let file = entry("location").unwrap_or_default();
    number("length")
        .and_then(|length| external(file, number("offset").unwrap_or(0), length))
        .ok_or_else(|| content(format!("tensor {name} is not in {file}")))
}

fn from_le<T, const N: usize>(raw: &[u8], convert: fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>()
        .0
        .iter()
        .map(|bytes| convert(*bytes))
        .collect()
}
