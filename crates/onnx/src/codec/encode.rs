//! Graphs to bytes.

use half::f16;
use prost::Message;
use std::collections::{BTreeMap, HashSet};

use crate::graph::attribute::{Attribute, Operator};
use crate::graph::{Constant, Dim, ElementType, Graph, GraphError, Node, OPSET, Value, ValueType};
use crate::half::halves;
use crate::proto::{
    AttributeProto, AttributeType, DataLocation, DataType, DimensionProto, DimensionValue,
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

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

    /// More than the file holds already.
    pub fn continued(file_name: &str, bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            ..Self::new(file_name)
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

/// The bytes of the `.onnx` file of `graph`; with `external`, its larger tensors go there. One whose
/// values half precision holds exactly goes there as that, and a `Cast` makes it single again, which
/// ONNX Runtime computes once, as it opens the graph.
///
/// # Errors
/// When an input or output has no type.
pub fn encode(
    graph: &Graph,
    mut external: Option<&mut ExternalData>,
) -> Result<Vec<u8>, GraphError> {
    let mut initializer = Vec::new();
    let mut node = Vec::new();
    for (name, constant) in graph.constants() {
        let half = external.as_ref().and_then(|_| half_bytes(constant));
        let (stored, values) = match half {
            None => (name.to_string(), raw(constant)),
            Some(half) => {
                let stored = graph.fresh(&format!("{name}.half"));
                node.push(cast_to_float(&stored, name));
                (stored, (DataType::Float16, half))
            }
        };
        let shape = constant.shape();
        initializer.push(tensor_proto(
            &stored,
            shape,
            values,
            external.as_deref_mut(),
        ));
    }
    node.extend(graph.nodes().iter().map(node_proto));
    name_apart(&mut node);
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
            node,
            initializer,
            input: info(graph.inputs())?,
            output: info(graph.outputs())?,
        }),
        functions: Vec::new(),
    };
    Ok(model.encode_to_vec())
}

/// Gives nodes of the same name other names, as ONNX Runtime wants it: those of a file that was
/// imported may be anything.
fn name_apart(nodes: &mut [NodeProto]) {
    let mut taken = HashSet::new();
    for node in nodes {
        let name = node.name.get_or_insert_default();
        if taken.contains(name) {
            let output = node.output.first().map(String::as_str);
            name.push_str(&format!(".{}", output.unwrap_or_default()));
        }
        while taken.contains(name) {
            name.push('_');
        }
        taken.insert(name.clone());
    }
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

fn raw(constant: &Constant) -> (DataType, Vec<u8>) {
    match constant {
        Constant::F32(tensor) => (
            DataType::Float,
            tensor.data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        Constant::I64 { data, .. } => (
            DataType::Int64,
            data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
    }
}

/// The values of a larger tensor in half precision, if that loses nothing.
fn half_bytes(constant: &Constant) -> Option<Vec<u8>> {
    let Constant::F32(tensor) = constant else {
        return None;
    };
    let exact = |(half, single): (f16, &f32)| {
        (half.to_f32().to_bits() == single.to_bits()).then(|| half.to_le_bytes())
    };
    let values = halves(&tensor.data).zip(&tensor.data).map(exact);
    let bytes = values.collect::<Option<Vec<_>>>()?.concat();
    (bytes.len() >= EXTERNAL_FROM_BYTES).then_some(bytes)
}

fn cast_to_float(from: &str, to: &Value) -> NodeProto {
    NodeProto {
        input: vec![from.to_owned()],
        output: vec![to.to_string()],
        name: Some(to.to_string()),
        op_type: Some("Cast".to_owned()),
        attribute: vec![attribute_proto(
            "to",
            &Attribute::Int(DataType::Float as i64),
        )],
        ..NodeProto::default()
    }
}

fn tensor_proto(
    name: &str,
    shape: &[usize],
    (data_type, raw): (DataType, Vec<u8>),
    external: Option<&mut ExternalData>,
) -> TensorProto {
    let mut proto = TensorProto {
        dims: shape.iter().map(|&size| size as i64).collect(),
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
        op_type: Some(node.op.name().to_owned()),
        attribute: node
            .op
            .attributes()
            .iter()
            .map(|(name, value)| attribute_proto(name, value))
            .collect(),
        ..NodeProto::default()
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
            proto.t = Some(tensor_proto("", constant.shape(), raw(constant), None));
            AttributeType::Tensor
        }
    };
    proto.r#type = Some(kind.into());
    proto
}
