//! `Sample`.

use std::sync::Arc;

use lfbm_model::pixels;
use lfbm_wire as proto;

use super::ServiceError;
use super::call::Call;
use super::core::Core;
use super::messages::model_id;
use super::render::{picture, rendered};
use crate::request::sample_count;
use crate::wire;

pub(super) async fn sample(
    core: &Core,
    call: &Call,
    request: proto::SampleRequest,
) -> Result<proto::SampleResponse, ServiceError> {
    let model = core.model(call, &request.model, request.version)?;
    let count = sample_count(request.count, core.limits);
    let form = wire::image_form(request.form);
    let (count, form) = match (count, form) {
        (Ok(count), Ok(form)) => (count, form),
        (count, form) => {
            let violations = count.err().into_iter().chain(form.err());
            return Err(ServiceError::Invalid(violations.collect()));
        }
    };
    let seed = request.seed.unwrap_or_default();
    let of_samples = Arc::clone(&model);
    let answer = move |x: Vec<f32>| {
        let manifest = &of_samples.manifest;
        let spec = &manifest.image;
        let images = x.chunks(spec.pixels()).map(|x| {
            let intensities = pixels::from_x(x, spec, None);
            rendered(&intensities, spec, form, picture)
        });
        Ok(proto::SampleResponse {
            images: images.collect::<Result<_, ServiceError>>()?,
            model: Some(model_id(manifest)),
        })
    };
    model
        .sampler
        .draw(count, seed, call.deadline(), answer)
        .await?
}
