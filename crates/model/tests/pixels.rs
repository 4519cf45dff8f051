//! What preprocessing does to an image can be undone.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use lfbm_model::pixels::from_x;
use lfbm_model::preprocess_graph;
use lfbm_model::{Contrast, ImageSpec, Intake};
use lfbm_onnx::Tensor;
use lfbm_runtime::{Runtime, evaluate};
use lfbm_testkit::random_images;

#[test]
fn x_becomes_the_intensities_that_it_was_made_of() {
    let runtime = Runtime::load(None).unwrap();
    for (contrast, value_range) in [
        (Contrast::None, [-1.0, 1.0]),
        (Contrast::UnitNorm { norm: 2.5 }, [-1.0, 1.0]),
        (Contrast::UnitNorm { norm: 9.0 }, [0.0, 1.0]),
    ] {
        let spec = ImageSpec {
            channels: 3,
            height: 4,
            width: 5,
            value_range,
            contrast,
            intake: Intake::STRETCH,
        };
        let graph = preprocess_graph(&spec).unwrap();
        let black = vec![0.0; spec.pixels()];
        for image in [random_images(&spec, 1, 1), black] {
            let input = Tensor::new([1, 3, 4, 5], image.clone());
            let x = evaluate(&runtime, &graph, &[input]).unwrap();
            let back = from_x(&x[0].data, &spec, Some(&image));
            let farthest = back.iter().zip(&image).map(|(a, b)| (a - b).abs());
            let farthest = farthest.fold(0.0, f32::max);
            assert!(farthest < 1e-5, "{spec:?}: {farthest}");
        }
    }
}
