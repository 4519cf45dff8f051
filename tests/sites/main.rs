//! Models of sites: served as they are evaluated, with maps and regions, beside others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../common/mod.rs"]
mod common;

mod maps;
mod protocols;
mod rates;
mod sharing;

use std::io::Cursor;
use std::path::Path;

use common::encoded;
use image::{GrayImage, ImageFormat};
use lfbm_bundle::Bundle;
use lfbm_detector::Score;
use lfbm_detector::sites::sum_sites;
use lfbm_model::pixels::from_bytes;
use lfbm_runtime::{Inference, Runtime, SCORE_SEED, SessionOptions};
use lfbm_testkit::{RandomSites, random_site_bundle};
use lfbm_wire::{ScoreRequest, ScoreResponse};

/// A bundle of sites in `folder`.
fn bundle(folder: &Path, name: &str, model: RandomSites) -> Bundle {
    let runtime = Runtime::load(None).unwrap();
    random_site_bundle(&folder.join(name), &runtime, model).unwrap()
}

/// Noise, as normal images are, with a white square at `square`: x, y and side. 0 is none.
fn picture(width: u32, height: u32, square: [u32; 3]) -> GrayImage {
    let [left, top, side] = square;
    GrayImage::from_fn(width, height, |x, y| {
        let within = |at: u32, first: u32| (first..first + side).contains(&at);
        let noise = (x * 7919 + y * 104_729 + x * y * 31) % 251;
        let white = within(x, left) && within(y, top);
        [if white { 255 } else { noise as u8 }].into()
    })
}

fn png(image: &GrayImage) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

fn with_map(image: &GrayImage) -> ScoreRequest {
    ScoreRequest {
        map: true,
        ..encoded(png(image))
    }
}

/// What a bundle says of an image of its size without a server: the sum over its sites, the score, and the map.
fn offline(bundle: &Bundle, image: &GrayImage) -> (Score, f64, Vec<f32>) {
    let runtime = Runtime::load(None).unwrap();
    let (manifest, options) = (bundle.manifest(), SessionOptions::default());
    let mut inference = Inference::open(&runtime, bundle.dir(), manifest, &options).unwrap();
    let intensities: Vec<f32> = from_bytes(image.as_raw()).collect();
    let x = inference.preprocess(&intensities).unwrap();
    let scores = inference
        .score(&x, &manifest.langevin, SCORE_SEED, &mut |_| ())
        .unwrap();
    let calibration = bundle.calibration().sites().unwrap();
    let scored = calibration.score(&calibration.bank().parts(&scores, &x));
    (sum_sites(&scores).unwrap(), scored.score, scored.map)
}

fn close(got: f64, expected: f64) -> bool {
    (got - expected).abs() <= 1e-6 * expected.abs().max(1.0)
}

fn assert_as_offline(reply: &ScoreResponse, (sum, score, map): &(Score, f64, Vec<f32>)) {
    for (got, expected) in [
        (reply.log_joint, sum.log_joint),
        (reply.log_prior, sum.log_prior),
        (reply.log_likelihood, sum.log_likelihood),
        (reply.log_joint_std, sum.log_joint_std),
        (reply.site_score.unwrap(), *score),
    ] {
        assert!(close(got, expected), "{got} {expected}");
    }
    let values = &reply.map.as_ref().unwrap().values;
    assert_eq!(values.len(), map.len());
    for (got, expected) in values.iter().zip(map) {
        assert!(close((*got).into(), (*expected).into()), "{got} {expected}");
    }
}
