//! Images of any size become those of a model's size, and positions in them become each other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Cursor;

use image::{GrayImage, ImageFormat, RgbImage};
use lfbm_images::{Fit, ImageError, Intake, IntakeError, Sample, Size};

const fn size(width: u32, height: u32) -> Size {
    Size { width, height }
}

fn intake(crop: u32, fit: Fit) -> Intake {
    Intake {
        crop: crop.try_into().ok(),
        fit,
    }
}

fn resized<T: Sample>(intake: Intake, source: Size, model: Size, planes: &[T]) -> Vec<T> {
    let placement = intake.placement(source, model).unwrap();
    placement.resize(planes).unwrap()
}

/// The bytes that `golden.py` draws.
fn drawn(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = (1_103_515_245 * state + 12_345) % (1 << 31);
        (state >> 23) as u8
    };
    (0..count).map(next).collect()
}

#[test]
fn resized_images_are_pillows_up_to_a_level() {
    for line in include_str!("golden.txt").lines() {
        let numbers: Vec<u32> = line.split(' ').map(|part| part.parse().unwrap()).collect();
        let (sizes, expected) = numbers.split_at(4);
        let (source, model) = (size(sizes[0], sizes[1]), size(sizes[2], sizes[3]));
        let bytes = drawn(source.pixels() as usize);
        let got = resized(Intake::STRETCH, source, model, &bytes);
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!(u32::from(*got).abs_diff(*expected) <= 1, "{line}: {got}");
        }
        // Floats are resized by the same filter.
        let floats: Vec<f32> = bytes.iter().map(|&v| f32::from(v) / 255.0).collect();
        for (got, expected) in resized(Intake::STRETCH, source, model, &floats)
            .iter()
            .zip(expected)
        {
            assert!(
                (255.0 * got - *expected as f32).abs() < 1.01,
                "{line}: {got}"
            );
        }
    }
}

/// Weights of so many pixels are rounded: what they add up to must still be all.
#[test]
fn the_mean_of_a_large_image_is_kept() {
    for source in [size(20_000, 3), size(3, 20_000), size(1500, 1500)] {
        let bytes = vec![200; source.pixels() as usize];
        assert_eq!(
            resized(Intake::STRETCH, source, size(2, 2), &bytes),
            [200; 4]
        );
        let floats = vec![1.0_f32; source.pixels() as usize];
        for value in resized(Intake::STRETCH, source, size(2, 2), &floats) {
            assert!((1.0 - 1e-5..=1.0).contains(&value), "{value}");
        }
    }
}

#[test]
fn an_image_of_the_models_size_stays_as_it_is() {
    let bytes = drawn(3 * 6 * 5);
    let floats: Vec<f32> = bytes.iter().map(|&v| f32::from(v) / 255.0).collect();
    for fit in [Fit::Stretch, Fit::Pad, Fit::Crop] {
        let intake = intake(0, fit);
        assert_eq!(resized(intake, size(6, 5), size(6, 5), &bytes), bytes);
        let same = resized(intake, size(6, 5), size(6, 5), &floats);
        assert!(
            same.iter()
                .zip(&floats)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
    }
    // So does the middle of a larger one.
    let cut = resized(
        intake(2, Fit::Stretch),
        size(4, 3),
        size(2, 2),
        &[
            1, 2, 3, 4, //
            5, 6, 7, 8, //
            9, 9, 9, 9_u8,
        ],
    );
    assert_eq!(cut, [2, 3, 6, 7]);
}

#[test]
fn another_aspect_ratio_is_padded_or_cut() {
    let wide = [10, 20, 30, 40_u8];
    let padded = resized(intake(0, Fit::Pad), size(4, 1), size(4, 3), &wide);
    assert_eq!(padded, [wide, wide, wide].concat());
    let tall = resized(intake(0, Fit::Pad), size(1, 4), size(3, 4), &wide);
    assert_eq!(tall, [10, 10, 10, 20, 20, 20, 30, 30, 30, 40, 40, 40]);
    let cut = resized(intake(0, Fit::Crop), size(4, 1), size(1, 1), &wide);
    assert_eq!(cut, [20]);
    let cut = resized(intake(0, Fit::Crop), size(1, 4), size(2, 4), &wide);
    assert_eq!(cut.len(), 8);
    // However far the ratios are apart, there is a pixel.
    for (source, model) in [(size(10_000, 1), size(3, 3)), (size(1, 10_000), size(3, 3))] {
        for fit in [Fit::Stretch, Fit::Pad, Fit::Crop] {
            let bytes = vec![7_u8; source.pixels() as usize];
            assert_eq!(resized(intake(0, fit), source, model, &bytes), [7; 9]);
        }
    }
}

#[test]
fn positions_go_to_the_model_and_back() {
    for (crop, fit, source, model, (left, top), (right, bottom)) in [
        // The corners of the model's image, in pixels of the source.
        (
            0,
            Fit::Stretch,
            size(280, 100),
            size(28, 50),
            (0.0, 0.0),
            (280.0, 100.0),
        ),
        (
            60,
            Fit::Stretch,
            size(100, 80),
            size(30, 30),
            (20.0, 10.0),
            (80.0, 70.0),
        ),
        (
            0,
            Fit::Pad,
            size(200, 100),
            size(50, 50),
            (0.0, -48.0),
            (200.0, 152.0),
        ),
        (
            0,
            Fit::Crop,
            size(200, 100),
            size(50, 50),
            (50.0, 0.0),
            (150.0, 100.0),
        ),
    ] {
        let placement = intake(crop, fit).placement(source, model).unwrap();
        let corner = |x, y| (placement.x.to_source(x), placement.y.to_source(y));
        assert_eq!(corner(0.0, 0.0), (left, top), "{fit}");
        let end = corner(model.width.into(), model.height.into());
        assert_eq!(end, (right, bottom), "{fit}");
        for span in [placement.x, placement.y] {
            for position in [-3.0, 0.0, 0.5, 17.25, 300.0] {
                assert!((span.to_model(span.to_source(position)) - position).abs() < 1e-9);
                assert!((span.to_source(span.to_model(position)) - position).abs() < 1e-9);
                let affine = span.offset() + span.scale() * position;
                assert_eq!(span.to_source(position), affine);
            }
        }
    }
}

/// A white pixel of a black image is found where the positions say.
#[test]
fn positions_are_those_of_the_pixels() {
    let (source, model) = (size(120, 90), size(40, 40));
    for intake in [
        intake(0, Fit::Stretch),
        intake(80, Fit::Stretch),
        intake(0, Fit::Pad),
        intake(0, Fit::Crop),
    ] {
        let mut bytes = vec![0_u8; source.pixels() as usize];
        let (column, row) = (71, 32);
        bytes[row * 120 + column] = 255;
        let got = resized(intake, source, model, &bytes);
        let brightest = (0..got.len()).max_by_key(|&index| got[index]).unwrap();
        let placement = intake.placement(source, model).unwrap();
        let x = placement.x.to_model(column as f64 + 0.5);
        let y = placement.y.to_model(row as f64 + 0.5);
        assert_eq!(brightest, y as usize * 40 + x as usize, "{intake:?}");
    }
}

fn png(image: impl Into<image::DynamicImage>) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.into().write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

#[test]
fn files_are_read_in_the_form_of_the_model() {
    let file = png(RgbImage::from_pixel(9, 6, [255, 0, 51].into()));
    let read = |channels| {
        Intake::STRETCH
            .read(&file, channels, size(2, 1), 100)
            .unwrap()
    };
    assert_eq!(read(3), [255, 255, 0, 0, 51, 51]);
    assert_eq!(read(1), [58, 58]);
    let cut = intake(7, Fit::Stretch).read(&file, 1, size(2, 1), 100);
    let error = cut.unwrap_err();
    assert!(matches!(
        error,
        ImageError::Intake(IntakeError::SmallerThanCrop { .. })
    ));
    assert!(error.to_string().contains("at least 7 x 7"), "{error}");
    let error = Intake::STRETCH.read(&file, 1, size(2, 1), 53).unwrap_err();
    assert!(matches!(error, ImageError::TooManyPixels { .. }));
    assert!(matches!(
        Intake::STRETCH.placement(size(0, 4), size(2, 2)),
        Err(IntakeError::Empty(_))
    ));
    let placement = Intake::STRETCH.placement(size(3, 3), size(2, 2)).unwrap();
    let error = placement.resize(&[0_u8; 10]).unwrap_err();
    assert!(matches!(error, IntakeError::NotPlanes { got: 10, .. }));
    let grey = png(GrayImage::from_pixel(28, 28, [9].into()));
    let same = Intake::STRETCH.read(&grey, 1, size(28, 28), 1000);
    assert_eq!(same.unwrap(), [9; 784]);
}

#[test]
fn an_intake_is_two_words_of_a_manifest() {
    for (intake, text) in [
        (Intake::STRETCH, r#"{"crop":null,"fit":"stretch"}"#),
        (intake(140, Fit::Pad), r#"{"crop":140,"fit":"pad"}"#),
        (intake(0, Fit::Crop), r#"{"crop":null,"fit":"crop"}"#),
    ] {
        assert_eq!(serde_json::to_string(&intake).unwrap(), text);
        assert_eq!(serde_json::from_str::<Intake>(text).unwrap(), intake);
        let fit: Fit = intake.fit.to_string().parse().unwrap();
        assert_eq!(fit, intake.fit);
    }
    for text in [
        r#"{"crop":0,"fit":"pad"}"#,
        r#"{"crop":1,"fit":"zoom"}"#,
        r#"{"crop":1}"#,
    ] {
        assert!(serde_json::from_str::<Intake>(text).is_err(), "{text}");
    }
    assert!("zoom".parse::<Fit>().is_err());
}
