//! Decoding never panics, whatever comes, and accepts what is valid and nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;

use image::{DynamicImage, GrayImage, ImageFormat};
use lfbm_bundle::manifest::{Contrast, ImageSpec, Intake};
use lfbm_server::request::decode_mask;
use lfbm_server::wire::{image, mask, open_inference};
use lfbm_wire::image::Content;
use lfbm_wire::inference::ModelInferRequest;
use lfbm_wire::inference::model_infer_request::InferInputTensor;
use lfbm_wire::{DataType, Image, Tensor};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const GREY: ImageSpec = ImageSpec {
    channels: 1,
    height: 2,
    width: 3,
    value_range: [-1.0, 1.0],
    contrast: Contrast::None,
    intake: Intake::STRETCH,
};
const RGB: ImageSpec = ImageSpec {
    channels: 3,
    ..GREY
};

/// Of an image as it comes.
const MAX_PIXELS: u64 = 12;

fn spec() -> impl Strategy<Value = ImageSpec> {
    select(vec![GREY, RGB])
}

fn file(bytes: Vec<u8>) -> Image {
    Image {
        content: Some(Content::Encoded(bytes)),
    }
}

fn valid_file(format: ImageFormat) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    let image = GrayImage::from_raw(3, 2, vec![0, 50, 100, 150, 200, 250]).unwrap();
    DynamicImage::from(image)
        .write_to(&mut file, format)
        .unwrap();
    file.into_inner()
}

fn is_image(decoded: &[f32], spec: &ImageSpec) -> bool {
    decoded.len() == spec.pixels() && decoded.iter().all(|v| (0.0..=1.0).contains(v))
}

/// The pixels of a tensor's shape, if it is one.
fn planes(shape: &[u64], channels: usize) -> Option<u64> {
    let pixels = match *shape {
        [height, width] if channels == 1 => height.checked_mul(width),
        [c, height, width] if c == channels as u64 => height.checked_mul(width),
        _ => None,
    };
    pixels.filter(|pixels| *pixels > 0)
}

/// Dimensions that are often right, and sometimes absurd.
fn shape() -> impl Strategy<Value = Vec<u64>> {
    let size = select(vec![0, 1, 2, 3, 4, 1 << 32, u64::MAX]);
    let near = select(vec![vec![1, 2, 3], vec![2, 3], vec![3, 2, 3], vec![3, 2]]);
    prop_oneof![near, vec(size, 0..5)]
}

/// Bytes whose number is often right, and whose floats are often in range.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let float = prop_oneof![
        8 => 0.0_f32..=1.0,
        1 => select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, -1e-9, 1.000_001]),
    ];
    let count = select(vec![0_usize, 5, 6, 7, 18]);
    prop_oneof![
        vec(any::<u8>(), 0..80),
        count.clone().prop_flat_map(|count| vec(any::<u8>(), count)),
        count
            .prop_flat_map(move |count| vec(float.clone(), count))
            .prop_map(|values| values.into_iter().flat_map(f32::to_le_bytes).collect()),
    ]
}

fn floats(data: &[u8]) -> Vec<f32> {
    let values = data.as_chunks().0.iter();
    values.map(|value| f32::from_le_bytes(*value)).collect()
}

proptest! {
    // Most of what is drawn is invalid; of so many, hundreds are not.
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn any_bytes_are_an_image_or_an_error(bytes in vec(any::<u8>(), 0..200), spec in spec()) {
        if let Ok(decoded) = image(Some(file(bytes))).unwrap().decode(&spec, MAX_PIXELS) {
            prop_assert!(is_image(&decoded, &spec));
        }
    }

    #[test]
    fn a_broken_file_is_an_image_or_an_error(
        format in select(vec![ImageFormat::Png, ImageFormat::Jpeg]),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        end in any::<prop::sample::Index>(),
        cut in any::<bool>(),
        spec in spec(),
    ) {
        let mut bytes = valid_file(format);
        let whole = changes.is_empty() && !cut;
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if cut {
            bytes.truncate(end.index(bytes.len()));
        }
        match image(Some(file(bytes))).unwrap().decode(&spec, MAX_PIXELS) {
            Ok(decoded) => prop_assert!(is_image(&decoded, &spec)),
            Err(violation) => prop_assert!(!whole, "{:?}", violation),
        }
    }

    #[test]
    fn a_tensor_is_accepted_if_and_only_if_it_is_one(
        shape in shape(),
        data_type in -1..4,
        data in data(),
        spec in spec(),
    ) {
        let pixels = planes(&shape, spec.channels).filter(|pixels| *pixels <= MAX_PIXELS);
        let values = pixels.map(|pixels| spec.channels * pixels as usize);
        let valid = values.is_some_and(|values| match DataType::try_from(data_type) {
            Ok(DataType::Uint8) => data.len() == values,
            Ok(DataType::Float32) => {
                data.len() == 4 * values && floats(&data).iter().all(|v| *v >= 0.0 && *v <= 1.0)
            }
            _ => false,
        });
        let tensor = Tensor { data_type, shape, data };
        let message = Image { content: Some(Content::Tensor(tensor.clone())) };
        let decoded = image(Some(message)).unwrap().decode(&spec, MAX_PIXELS);
        prop_assert_eq!(decoded.is_ok(), valid, "{:?}: {:?}", tensor, decoded);
        if let Ok(decoded) = decoded {
            prop_assert!(is_image(&decoded, &spec));
        }
    }

    #[test]
    fn a_mask_is_accepted_if_and_only_if_it_is_one(
        shape in shape(),
        data_type in -1..4,
        data in prop_oneof![data(), vec(0_u8..=1, 6)],
        spec in spec(),
    ) {
        let fits = shape == [2, 3] || shape == [1, 2, 3];
        let values = match DataType::try_from(data_type) {
            Ok(DataType::Uint8) => data.iter().map(|byte| f32::from(*byte)).collect(),
            Ok(DataType::Float32) if data.len() == 24 => floats(&data),
            _ => Vec::new(),
        };
        let binary = values.iter().all(|v| *v == 0.0 || *v == 1.0);
        let valid = fits && values.len() == 6 && binary && values.contains(&1.0);
        let tensor = Tensor { data_type, shape, data };
        let decoded = decode_mask(mask(Some(tensor.clone())).as_ref(), spec.size(), &spec);
        prop_assert_eq!(decoded.is_ok(), valid, "{:?}: {:?}", tensor, decoded);
    }

    #[test]
    fn an_open_inference_input_is_accepted_if_and_only_if_it_is_one(
        datatype in select(vec!["UINT8", "FP32", "INT8", ""]),
        mut shape in shape(),
        count in select(vec![-1, 0, 1, 2, i64::MAX]),
        raw in vec(data(), 0..3),
        spec in spec(),
    ) {
        let pixels = planes(&shape, spec.channels);
        let value_bytes = match datatype {
            "UINT8" => 1,
            "FP32" => 4,
            _ => 0,
        };
        let values = pixels.map(|pixels| spec.channels as i128 * i128::from(pixels));
        let bytes = values.and_then(|values| values.checked_mul(i128::from(count) * value_bytes));
        let valid = pixels.is_some()
            && count > 0
            && value_bytes > 0
            && raw.len() == 1
            && Some(raw[0].len() as i128) == bytes;
        shape.insert(0, count as u64);
        let request = ModelInferRequest {
            inputs: vec![InferInputTensor {
                name: "image".to_owned(),
                datatype: datatype.to_owned(),
                shape: shape.iter().map(|size| *size as i64).collect(),
                ..Default::default()
            }],
            raw_input_contents: raw,
            ..Default::default()
        };
        let images = open_inference::images(request.clone(), &spec, usize::MAX);
        prop_assert_eq!(images.is_ok(), valid, "{:?}: {:?}", request, images);
        prop_assert!(images.is_err() || images.unwrap().count() as i64 == count);
    }
}
