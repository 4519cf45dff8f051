//! Tensors of files, of any type of elements.

use half::{bf16, f16};

use crate::graph::Constant;
use crate::proto::{DataLocation, DataType, TensorProto};
use crate::tensor::Tensor;

/// Returns `length` bytes at `offset` of the named file beside the model, or why it does not, as a
/// sentence about the tensor goes on.
pub type External<'a> = dyn Fn(&str, usize, usize) -> Result<Vec<u8>, String> + 'a;

/// Values of a tensor, in the type that a graph of this crate computes with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Elements {
    Floats(Vec<f32>),
    Ints(Vec<i64>),
    Bools(Vec<bool>),
}

impl Elements {
    fn len(&self) -> usize {
        match self {
            Self::Floats(values) => values.len(),
            Self::Ints(values) => values.len(),
            Self::Bools(values) => values.len(),
        }
    }

    /// The same as a constant of a graph, in which conditions are integers.
    pub(crate) fn constant(self, shape: Vec<usize>) -> Constant {
        match self {
            Self::Floats(data) => Constant::F32(Tensor { shape, data }),
            Self::Ints(data) => Constant::I64 { shape, data },
            Self::Bools(data) => Constant::I64 {
                shape,
                data: data.into_iter().map(i64::from).collect(),
            },
        }
    }
}

/// What is wrong with a tensor: how a sentence about it goes on.
pub(crate) type TensorError = String;

/// Reads a tensor. Floats are narrowed, or widened, to single precision, and integers widened.
///
/// # Errors
/// When its elements are of a type that has no such form, or not as many as its shape says.
pub(crate) fn read_tensor(
    proto: &TensorProto,
    external: &External,
) -> Result<(Vec<usize>, Elements), TensorError> {
    let shape: Vec<usize> = proto
        .dims
        .iter()
        .map(|&size| usize::try_from(size).map_err(|_| format!("has the size {size}")))
        .collect::<Result<_, _>>()?;
    let count = shape
        .iter()
        .try_fold(1_usize, |total, &size| total.checked_mul(size))
        .ok_or_else(|| format!("has the shape {shape:?}, which is too large"))?;
    let described = DataType::describe(proto.data_type);
    let data_type = proto
        .data_type
        .and_then(|code| DataType::try_from(code).ok())
        .filter(|&known| bytes_per_element(known).is_some())
        .ok_or_else(|| {
            format!(
                "has elements of the type {described}; float16, bfloat16, float32, float64, \
                 integers of 8 to 64 bits and bool can be read"
            )
        })?;
    let raw = match read_external(proto, data_type, count)? {
        Some((file, offset, length)) => Some(external(file, offset, length)?),
        None => proto.raw_data.clone(),
    };
    let elements = match raw {
        Some(raw) => from_bytes(data_type, &raw),
        None => from_fields(data_type, proto),
    }
    .map_err(|value| {
        format!(
            "has the type {described} and holds {value}, which does not fit into {}",
            if data_type == DataType::Double {
                "float32"
            } else {
                "int64"
            }
        )
    })?;
    if let Elements::Floats(values) = &elements
        && let Some(index) = values.iter().position(|value| value.is_nan())
    {
        return Err(format!(
            "holds NaN, at {index} of its {count} values; export it anew"
        ));
    }
    if elements.len() != count {
        let holds = elements.len();
        return Err(format!("has the shape {shape:?} and holds {holds} values"));
    }
    Ok((shape, elements))
}

/// Bytes of an element of a type that can be read.
fn bytes_per_element(data_type: DataType) -> Option<usize> {
    match data_type {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => Some(1),
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => Some(2),
        DataType::Float | DataType::Int32 | DataType::Uint32 => Some(4),
        DataType::Double | DataType::Int64 | DataType::Uint64 => Some(8),
        _ => None,
    }
}

/// In which file, where in it and how many bytes the values are, unless they are in the tensor.
fn read_external(
    proto: &TensorProto,
    data_type: DataType,
    count: usize,
) -> Result<Option<(&str, usize, usize)>, String> {
    if proto.data_location != Some(DataLocation::External.into()) {
        return Ok(None);
    }
    let entry = |key: &str| {
        let found = proto
            .external_data
            .iter()
            .find(|entry| entry.key.as_deref() == Some(key));
        found.and_then(|entry| entry.value.as_deref())
    };
    let number = |key: &str| match entry(key) {
        None => Ok(None),
        Some(text) => match text.parse::<usize>() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(format!(
                "has the {key} {text:?}, expected a number of bytes"
            )),
        },
    };
    let file = entry("location").ok_or("is in another file, which it does not name")?;
    let expected = bytes_per_element(data_type)
        .and_then(|bytes| bytes.checked_mul(count))
        .ok_or("is too large")?;
    let length = number("length")?.unwrap_or(expected);
    if length != expected {
        return Err(format!(
            "has {length} bytes in {file}, expected {expected} by its shape and type"
        ));
    }
    Ok(Some((file, number("offset")?.unwrap_or(0), length)))
}

/// A value that does not fit the type that it is brought to.
type Misfit = String;

/// A number beyond single precision is refused; infinity is one of its values.
fn narrowed(value: f64) -> Result<f32, Misfit> {
    let single = value as f32;
    if single.is_infinite() && value.is_finite() {
        return Err(format!("{value:e}"));
    }
    Ok(single)
}

fn signed(value: u64) -> Result<i64, Misfit> {
    i64::try_from(value).map_err(|_| value.to_string())
}

/// Values of a type that [`bytes_per_element`] knows.
fn from_bytes(data_type: DataType, raw: &[u8]) -> Result<Elements, Misfit> {
    use Elements::{Bools, Floats, Ints};
    Ok(match data_type {
        DataType::Float => Floats(from_le(raw, f32::from_le_bytes)),
        DataType::Float16 => Floats(from_le(raw, |v| f16::from_le_bytes(v).to_f32())),
        DataType::Bfloat16 => Floats(from_le(raw, |v| bf16::from_le_bytes(v).to_f32())),
        DataType::Double => {
            let values = from_le(raw, f64::from_le_bytes).into_iter();
            Floats(values.map(narrowed).collect::<Result<_, _>>()?)
        }
        DataType::Bool => Bools(raw.iter().map(|&v| v != 0).collect()),
        DataType::Uint8 => Ints(raw.iter().map(|&v| v.into()).collect()),
        DataType::Int8 => Ints(from_le(raw, |v| i8::from_le_bytes(v).into())),
        DataType::Uint16 => Ints(from_le(raw, |v| u16::from_le_bytes(v).into())),
        DataType::Int16 => Ints(from_le(raw, |v| i16::from_le_bytes(v).into())),
        DataType::Uint32 => Ints(from_le(raw, |v| u32::from_le_bytes(v).into())),
        DataType::Int32 => Ints(from_le(raw, |v| i32::from_le_bytes(v).into())),
        DataType::Uint64 => {
            let values = from_le(raw, u64::from_le_bytes).into_iter();
            Ints(values.map(signed).collect::<Result<_, _>>()?)
        }
        _ => Ints(from_le(raw, i64::from_le_bytes)),
    })
}

/// The same, of the fields in which a file may have them in place of bytes.
fn from_fields(data_type: DataType, proto: &TensorProto) -> Result<Elements, Misfit> {
    use Elements::{Bools, Floats, Ints};
    let small = proto.int32_data.iter();
    Ok(match data_type {
        DataType::Float => Floats(proto.float_data.clone()),
        DataType::Float16 => Floats(small.map(|&v| f16::from_bits(v as u16).to_f32()).collect()),
        DataType::Bfloat16 => Floats(small.map(|&v| bf16::from_bits(v as u16).to_f32()).collect()),
        DataType::Double => {
            let values = proto.double_data.iter().copied();
            Floats(values.map(narrowed).collect::<Result<_, _>>()?)
        }
        DataType::Bool => Bools(small.map(|&v| v != 0).collect()),
        DataType::Uint32 | DataType::Uint64 => {
            let values = proto.uint64_data.iter().copied();
            Ints(values.map(signed).collect::<Result<_, _>>()?)
        }
        DataType::Int64 => Ints(proto.int64_data.clone()),
        _ => Ints(small.map(|&v| v.into()).collect()),
    })
}

fn from_le<T, const N: usize>(raw: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
    raw.as_chunks::<N>()
        .0
        .iter()
        .map(|bytes| convert(*bytes))
        .collect()
}
