use lfbm_bundle::manifest::ImageSpec;

use super::Violation;
use super::tensor::{self, Fields, Tensor};

const MASK: Fields = Fields {
    shape: "mask.shape",
    data: "mask.data",
};

/// H W values, 1 where a pixel is visible and 0 where it is hidden; `None` where all are visible.
///
/// # Errors
/// When it has another size than `spec`'s, another value than 0 and 1, or hides every pixel.
pub fn decode_mask(mask: Option<&Tensor>, spec: &ImageSpec) -> Result<Option<Vec<f32>>, Violation> {
    let Some(tensor) = mask else {
        return Ok(None);
    };
    let shape = [1, spec.height, spec.width];
    let from_bytes = |bytes: &[u8]| bytes.iter().copied().map(f32::from).collect();
    let values = tensor::values(tensor, shape, from_bytes, &MASK)?;
    if let Some(index) = values.iter().position(|v| *v != 0.0 && *v != 1.0) {
        let reason = format!("expected 0 or 1, got {} at index {index}", values[index]);
        return Err(Violation::new(MASK.data, reason));
    }
    if values.iter().all(|v| *v == 0.0) {
        return Err(Violation::new(
            MASK.data,
            "expected a visible pixel, all are hidden",
        ));
    }
    Ok(values.contains(&0.0).then_some(values))
}

#[cfg(test)]
mod tests {
    use super::super::tensor::DataType;
    use super::*;
    use lfbm_bundle::manifest::Contrast;

    const SPEC: ImageSpec = ImageSpec {
        channels: 3,
        height: 2,
        width: 2,
        value_range: [-1.0, 1.0],
        contrast: Contrast::None,
    };

    fn tensor(data_type: DataType, shape: &[u64], data: Vec<u8>) -> Tensor {
        Tensor {
            data_type: Ok(data_type),
            shape: shape.to_vec(),
            data,
        }
    }

    #[test]
    fn bytes_and_floats_are_the_same_mask() {
        let floats = [0.0_f32, 1.0, 1.0, 0.0].map(f32::to_le_bytes).concat();
        for mask in [
            tensor(DataType::Uint8, &[2, 2], vec![0, 1, 1, 0]),
            tensor(DataType::Float32, &[1, 2, 2], floats),
        ] {
            let decoded = decode_mask(Some(&mask), &SPEC).unwrap();
            assert_eq!(decoded, Some(vec![0.0, 1.0, 1.0, 0.0]));
        }
        let all = tensor(DataType::Uint8, &[2, 2], vec![1; 4]);
        for mask in [None, Some(&all)] {
            assert_eq!(decode_mask(mask, &SPEC).unwrap(), None);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let uint8 = DataType::Uint8;
        for (mask, field, part) in [
            (
                tensor(uint8, &[3, 2, 2], vec![1; 12]),
                MASK.shape,
                "[1, 2, 2]",
            ),
            (
                tensor(uint8, &[2, 2], vec![1; 3]),
                MASK.data,
                "4 bytes, got 3",
            ),
            (
                tensor(uint8, &[2, 2], vec![1, 1, 255, 1]),
                MASK.data,
                "255 at index 2",
            ),
            (
                tensor(uint8, &[2, 2], vec![0; 4]),
                MASK.data,
                "all are hidden",
            ),
        ] {
            let violation = decode_mask(Some(&mask), &SPEC).unwrap_err();
            assert_eq!(violation.field, field, "{violation:?}");
            assert!(violation.description.contains(part), "{violation:?}");
        }
    }
}
