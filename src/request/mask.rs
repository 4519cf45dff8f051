use lfbm_bundle::manifest::ImageSpec;
use lfbm_images::Size;

use super::tensor::{self, DataType, Fields, Tensor};
use super::{Violation, cut_list};

const MASK: Fields = Fields {
    shape: "mask.shape",
    data: "mask.data",
};

/// The mask of an image of the size `image` for the model's size: H W values, 1 where a pixel is
/// visible and 0 where it is hidden; `None` where all are visible. A pixel of the model is hidden where
/// any hidden pixel has a part in it, so that those have no influence on what is left.
///
/// # Errors
/// When it has another size than the image, another value than 0 and 1, or leaves no pixel of the model
/// visible.
pub fn decode_mask(
    mask: Option<&Tensor>,
    image: Size,
    spec: &ImageSpec,
) -> Result<Option<Vec<f32>>, Violation> {
    let Some(tensor) = mask else {
        return Ok(None);
    };
    if !tensor::size(tensor, 1, &MASK).is_ok_and(|size| size == image) {
        let Size { width, height } = image;
        let got = cut_list(&tensor.shape);
        let reason = format!("expected the image's [1, {height}, {width}] (1, H, W), got {got}");
        return Err(Violation::new(MASK.shape, reason));
    }
    let values: Vec<f32> = match tensor::data_type(tensor, 1, image, &MASK)? {
        DataType::Uint8 => tensor.data.iter().copied().map(f32::from).collect(),
        DataType::Float32 => tensor::floats(&tensor.data).collect(),
    };
    if let Some(index) = values.iter().position(|v| *v != 0.0 && *v != 1.0) {
        let reason = format!("expected 0 or 1, got {} at index {index}", values[index]);
        return Err(Violation::new(MASK.data, reason));
    }
    // Resized by the weights of the image: what is above 0 has a hidden part.
    let hidden: Vec<f32> = values.into_iter().map(|visible| 1.0 - visible).collect();
    let placement = spec.intake.placement(image, spec.size());
    let hidden = placement.and_then(|placement| placement.resize(&hidden));
    let hidden = hidden.map_err(|error| Violation::new(MASK.shape, error.to_string()))?;
    if hidden.iter().all(|part| *part > 0.0) {
        let reason = format!(
            "expected a visible pixel, all are hidden: each of the model's {} pixels takes in a hidden \
             one; hide fewer",
            spec.size()
        );
        return Err(Violation::new(MASK.data, reason));
    }
    let visible: Vec<f32> = hidden
        .into_iter()
        .map(|part| if part > 0.0 { 0.0 } else { 1.0 })
        .collect();
    Ok(visible.contains(&0.0).then_some(visible))
}

/// The most bytes that decoding a mask takes at once, beside the message.
pub(super) fn decode_bytes(image: Size, spec: &ImageSpec) -> u64 {
    let Ok(placement) = spec.intake.placement(image, spec.size()) else {
        return 0;
    };
    let float_bytes = size_of::<f32>() as u64;
    float_bytes
        .saturating_mul(image.pixels() + spec.size().pixels())
        .saturating_add(placement.resize_bytes::<f32>(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lfbm_bundle::manifest::{Contrast, Intake};
    use lfbm_images::Fit;

    const SPEC: ImageSpec = ImageSpec {
        channels: 3,
        height: 2,
        width: 2,
        value_range: [-1.0, 1.0],
        contrast: Contrast::None,
        intake: Intake::STRETCH,
    };

    fn decode_mask(mask: Option<&Tensor>, spec: &ImageSpec) -> Result<Option<Vec<f32>>, Violation> {
        super::decode_mask(mask, spec.size(), spec)
    }

    fn tensor(data_type: DataType, shape: &[u64], data: Vec<u8>) -> Tensor {
        Tensor {
            data_type: Ok(data_type),
            shape: shape.to_vec(),
            data: data.into(),
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
                "the image's [1, 2, 2] (1, H, W), got [3, 2, 2]",
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

    /// Whatever hidden pixels are, visible ones of the model do not change by a bit.
    #[test]
    fn hidden_pixels_have_no_part_in_what_is_visible() {
        for (width, height) in [(28, 28), (11, 7), (5, 40), (84, 30), (3, 3), (29, 27)] {
            for fit in [Fit::Stretch, Fit::Pad, Fit::Crop] {
                let spec = ImageSpec {
                    channels: 1,
                    height: 8,
                    width: 9,
                    intake: Intake { crop: None, fit },
                    ..SPEC
                };
                let size = Size { width, height };
                let is_visible = |position: u32| {
                    let (x, y) = (position % width, position / width);
                    u8::from(x * 3 > width || y * 2 < height)
                };
                let visible: Vec<u8> = (0..width * height).map(is_visible).collect();
                let shape = [height.into(), width.into()];
                let mask = tensor(DataType::Uint8, &shape, visible.clone());
                let mask = super::decode_mask(Some(&mask), size, &spec)
                    .unwrap()
                    .unwrap();
                assert!(mask.contains(&1.0), "{size} {fit}");
                let image = |hidden: fn(usize) -> u8| -> Vec<u8> {
                    let pick = |(index, &visible): (usize, &u8)| match visible {
                        1 => (index * 7 % 256) as u8,
                        _ => hidden(index),
                    };
                    visible.iter().enumerate().map(pick).collect()
                };
                let placement = spec.intake.placement(size, spec.size()).unwrap();
                let black = image(|_| 0);
                for other in [image(|_| 255), image(|index| (index * 91 % 256) as u8)] {
                    let floats = |bytes: &[u8]| -> Vec<f32> {
                        bytes.iter().map(|&v| f32::from(v) / 255.0).collect()
                    };
                    let bytes = [&black, &other].map(|image| placement.resize(image).unwrap());
                    let floats =
                        [&black, &other].map(|image| placement.resize(&floats(image)).unwrap());
                    for (position, _) in mask.iter().enumerate().filter(|(_, v)| **v == 1.0) {
                        assert_eq!(bytes[0][position], bytes[1][position], "{size} {fit}");
                        let [a, b] = [0, 1].map(|image| floats[image][position].to_bits());
                        assert_eq!(a, b, "{size} {fit}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_pixel_that_takes_in_a_hidden_one_is_hidden() {
        let size = Size {
            width: 20,
            height: 20,
        };
        let of = |is_hidden: fn(usize, usize) -> bool, intake| {
            let visible = (0..400).map(|index| u8::from(!is_hidden(index % 20, index / 20)));
            let mask = tensor(DataType::Uint8, &[20, 20], visible.collect());
            super::decode_mask(Some(&mask), size, &ImageSpec { intake, ..SPEC })
        };
        let corner = of(|x, y| x == 0 && y == 0, Intake::STRETCH).unwrap();
        assert_eq!(corner, Some(vec![0.0, 1.0, 1.0, 1.0]));
        let grid = of(|x, y| x % 5 == 2 && y % 5 == 2, Intake::STRETCH).unwrap_err();
        assert!(
            grid.description.contains("2 x 2 pixels takes in a hidden"),
            "{grid:?}"
        );
        // What is cut off may be hidden.
        let crop = Intake {
            crop: 10.try_into().ok(),
            fit: Fit::Stretch,
        };
        assert_eq!(of(|x, _| x < 5, crop).unwrap(), None);
    }
}
