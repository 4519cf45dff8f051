//! Requests of both protocols: tensors and masks of every type and shape, and inference parameters.

#![no_main]

use std::sync::{Arc, LazyLock};

use lfbm_bundle::manifest::{Aggregation, Contrast, ImageSpec, Intake, Langevin};
use lfbm_server::request::{self, Limits};
use lfbm_server::wire::{self, Scan, Schema, Unfit, open_inference};
use lfbm_wire::DESCRIPTORS;
use lfbm_wire::ScoreRequest;
use lfbm_wire::inference::ModelInferRequest;
use libfuzzer_sys::fuzz_target;
use prost::Message;

const SPEC: ImageSpec = ImageSpec {
    channels: 1,
    height: 4,
    width: 4,
    value_range: [-1.0, 1.0],
    contrast: Contrast::None,
    intake: Intake::STRETCH,
};
const DEFAULTS: Langevin = Langevin {
    steps: 40,
    step_size: 0.1,
    noise_free_steps: 10,
    chains: 1,
    aggregation: Aggregation::Mean,
};
const LIMITS: Limits = Limits {
    steps: 100,
    chains: 8,
    samples: 64,
    stream_in_flight: 64,
    image_pixels: 1 << 16,
};

/// Whether the scan takes the bytes for a message of the method.
fn is_message(bytes: &[u8], method: &str) -> bool {
    static SCHEMA: LazyLock<Arc<Schema>> =
        LazyLock::new(|| Arc::new(Schema::new(&[DESCRIPTORS]).expect("our descriptors")));
    let input = SCHEMA.method(method).expect("our method").input();
    let mut scan = Scan::new(Arc::clone(&SCHEMA), input, usize::MAX);
    let read = bytes.chunks(7).try_for_each(|piece| scan.read(piece));
    !matches!(read.and_then(|()| scan.end()), Err(Unfit::Malformed(_)))
}

fuzz_target!(|bytes: &[u8]| {
    let scored = is_message(bytes, "/lfbm.v1.AnomalyDetector/Score");
    assert!(scored || ScoreRequest::decode(bytes).is_err());
    let inferred = is_message(bytes, "/inference.GRPCInferenceService/ModelInfer");
    assert!(inferred || ModelInferRequest::decode(bytes).is_err());
    if let Ok(request) = ScoreRequest::decode(bytes) {
        score(request);
    }
    if let Ok(request) = ModelInferRequest::decode(bytes) {
        model_infer(request);
    }
});

/// Of a request.
const MOST_IMAGES: usize = 1024;

fn image(image: &request::Image) {
    if let Ok(intensities) = image.decode(&SPEC, LIMITS.image_pixels) {
        assert_eq!(intensities.len(), SPEC.pixels());
        assert!(intensities.iter().all(|v| (0.0..=1.0).contains(v)));
    }
}

fn score(request: ScoreRequest) {
    let mut size = SPEC.size();
    if let Some(message) = wire::image(request.image) {
        image(&message);
        size = message
            .dimensions(&SPEC, LIMITS.image_pixels)
            .unwrap_or(size);
    }
    if let Ok(Some(mask)) = request::decode_mask(wire::mask(request.mask).as_ref(), size, &SPEC) {
        assert_eq!(mask.len(), SPEC.positions());
        assert!(mask.iter().all(|v| *v == 0.0 || *v == 1.0));
        assert!(mask.contains(&0.0) && mask.contains(&1.0));
    }
    if let Ok((langevin, _)) = wire::parameters(request.inference).validate(1, &DEFAULTS, LIMITS) {
        assert!(langevin.steps <= LIMITS.steps && langevin.noise_free_steps <= langevin.steps);
        assert!((1..=LIMITS.chains).contains(&langevin.chains));
        assert!(langevin.step_size.is_finite() && langevin.step_size > 0.0);
    }
}

fn model_infer(request: ModelInferRequest) {
    let _ = open_inference::infer_parameters(&request.parameters);
    if let Ok(images) = open_inference::images(request, &SPEC, MOST_IMAGES) {
        assert!((1..=MOST_IMAGES).contains(&images.count()));
        for one in images.tensors() {
            image(&request::Image::Tensor(one));
        }
    }
}
