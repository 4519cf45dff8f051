use super::{Violation, cut_list};

/// What the bytes of a tensor's values stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// One byte each.
    Uint8,
    /// Four bytes each, little-endian.
    Float32,
}

/// Values with a shape, as they came.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The type of the values.
    pub data_type: Result<DataType, Violation>,
    /// Sizes, the last varies fastest.
    pub shape: Vec<u64>,
    /// The values' bytes.
    pub data: Vec<u8>,
}

/// The paths of a tensor's fields in a request.
pub(super) struct Fields {
    pub(super) shape: &'static str,
    pub(super) data: &'static str,
}

/// The values of a tensor of `shape`, C H W; C may be left out where it is 1. `from_bytes` says
/// what bytes stand for.
pub(super) fn values(
    tensor: &Tensor,
    shape: [usize; 3],
    from_bytes: impl FnOnce(&[u8]) -> Vec<f32>,
    fields: &Fields,
) -> Result<Vec<f32>, Violation> {
    let expected = shape.map(|size| size as u64);
    let planar = expected[0] == 1 && tensor.shape == expected[1..];
    if tensor.shape != expected && !planar {
        let got = cut_list(&tensor.shape);
        let reason = format!("expected {expected:?} (C, H, W), got {got}");
        return Err(Violation::new(fields.shape, reason));
    }
    let value_bytes = match tensor.data_type.clone()? {
        DataType::Uint8 => 1,
        DataType::Float32 => size_of::<f32>(),
    };
    let bytes = value_bytes * shape.iter().product::<usize>();
    if tensor.data.len() != bytes {
        let reason = format!("expected {bytes} bytes, got {}", tensor.data.len());
        return Err(Violation::new(fields.data, reason));
    }
    if value_bytes == 1 {
        return Ok(from_bytes(&tensor.data));
    }
    let floats = tensor.data.as_chunks().0.iter();
    Ok(floats.map(|value| f32::from_le_bytes(*value)).collect())
}
