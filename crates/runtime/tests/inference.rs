//! A set of images is shared out among threads; nobody can tell from the result.

#![allow(clippy::unwrap_used, missing_docs)]

use lfbm_model::GeneratorName;
use lfbm_runtime::{Inference, Runtime, SessionOptions};
use lfbm_testkit::{random_bundle, random_images};

/// So many that the chains of one are not all in one batch, and a thread runs several batches.
const IMAGES: usize = 301;
const SEED: u64 = 5;

#[test]
fn chains_of_many_images_are_those_of_each() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let out = folder.path().join("mlp");
    let bundle = random_bundle(&out, &runtime, GeneratorName::Mlp, 6, 4, 1).unwrap();
    let manifest = bundle.manifest();
    let mut langevin = manifest.langevin;
    (langevin.steps, langevin.chains) = (3, 4);
    let options = SessionOptions {
        threads: 3,
        ..SessionOptions::default()
    };
    let mut inference = Inference::open(&runtime, bundle.dir(), manifest, &options).unwrap();
    let images = random_images(&manifest.image, IMAGES, 2);
    let mut done = Vec::new();
    let together = inference
        .chains(&images, None, &langevin, SEED, &mut |n| done.push(n))
        .unwrap();
    assert_eq!(together.len(), IMAGES);
    assert!(done.is_sorted() && done.last() == Some(&IMAGES), "{done:?}");
    let each = images.chunks(manifest.image.pixels());
    for (image, together) in each.zip(&together) {
        let alone = inference
            .chains(image, None, &langevin, SEED, &mut |_| ())
            .unwrap();
        assert_eq!(together.len(), 4);
        for (together, alone) in together.iter().zip(&alone[0]) {
            let (got, expected) = (together.log_joint(), alone.log_joint());
            assert!(
                (got - expected).abs() < 1e-4 * expected.abs().max(1.0),
                "{got} {expected}"
            );
        }
    }
    let none = inference.chains(&[], None, &langevin, SEED, &mut |_| ());
    assert!(none.unwrap().is_empty());
}
