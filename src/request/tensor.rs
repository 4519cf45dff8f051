use bytes::Bytes;
use lfbm_images::Size;

use super::{Violation, cut_list};

/// What the bytes of a tensor's values stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DataType {
    /// One byte each.
    Uint8,
    /// Four bytes each, little-endian.
    Float32,
}

/// Values with a shape, as they came; a clone shares the values' bytes.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// The type of the values.
    pub data_type: Result<DataType, Violation>,
    /// Sizes, the last varies fastest.
    pub shape: Vec<u64>,
    /// The values' bytes.
    pub data: Bytes,
}

/// The paths of a tensor's fields in a request.
pub(super) struct Fields {
    pub(super) shape: &'static str,
    pub(super) data: &'static str,
}

/// Width and height of a tensor of so many channels: C H W values; C may be left out where it is 1.
///
/// # Errors
/// When its shape is another, or it has no pixels.
pub(super) fn size(tensor: &Tensor, channels: usize, fields: &Fields) -> Result<Size, Violation> {
    let (got_channels, height, width) = match tensor.shape[..] {
        [height, width] => (1, height, width),
        [channels, height, width] => (channels, height, width),
        _ => (0, 0, 0),
    };
    let side = |side: u64| u32::try_from(side).ok().filter(|&side| side > 0);
    match (side(width), side(height)) {
        (Some(width), Some(height)) if got_channels == channels as u64 => {
            Ok(Size { width, height })
        }
        _ => {
            let got = cut_list(&tensor.shape);
            let reason = format!("expected [{channels}, H, W] (C, H, W), got {got}");
            Err(Violation::new(fields.shape, reason))
        }
    }
}

/// The type of a tensor's values, of which it has so many for each pixel of its size.
///
/// # Errors
/// When the type is unknown, or its data have another length.
pub(super) fn data_type(
    tensor: &Tensor,
    channels: usize,
    size: Size,
    fields: &Fields,
) -> Result<DataType, Violation> {
    let data_type = tensor.data_type.clone()?;
    let value_bytes = match data_type {
        DataType::Uint8 => 1,
        DataType::Float32 => size_of::<f32>(),
    };
    // In u128 no product of sides overflows.
    let bytes = value_bytes as u128 * channels as u128 * u128::from(size.pixels());
    if tensor.data.len() as u128 != bytes {
        let reason = format!("expected {bytes} bytes, got {}", tensor.data.len());
        return Err(Violation::new(fields.data, reason));
    }
    Ok(data_type)
}

/// Little-endian floats.
pub(super) fn floats(data: &[u8]) -> impl Iterator<Item = f32> {
    let floats = data.as_chunks().0.iter();
    floats.map(|value| f32::from_le_bytes(*value))
}

/// Refuses images of too many pixels, whatever form they have.
pub(super) fn check_pixels(size: Size, most: u64, field: &'static str) -> Result<Size, Violation> {
    if size.pixels() <= most {
        return Ok(size);
    }
    let pixels = size.pixels();
    let reason =
        format!("expected at most {most} pixels (--max-image-pixels), got {size} = {pixels}");
    Err(Violation::new(field, reason))
}
