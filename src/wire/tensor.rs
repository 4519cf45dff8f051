use super::Violation;
use super::text::cut_list;
use crate::proto;

/// The paths of a tensor's fields in a request.
pub(super) struct Fields {
    pub(super) data_type: &'static str,
    pub(super) shape: &'static str,
    pub(super) data: &'static str,
}

/// The values of a tensor of `shape`, C H W; C may be left out where it is 1. `from_bytes` says
/// what bytes stand for.
pub(super) fn values(
    tensor: &proto::Tensor,
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
    let value_bytes = match tensor.data_type() {
        proto::DataType::Uint8 => 1,
        proto::DataType::Float32 => size_of::<f32>(),
        proto::DataType::Unspecified => {
            let reason = format!(
                "expected DATA_TYPE_UINT8 or DATA_TYPE_FLOAT32, got {}",
                tensor.data_type
            );
            return Err(Violation::new(fields.data_type, reason));
        }
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
