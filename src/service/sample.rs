//! `Sample`.

use std::sync::Arc;

use lfbm_model::pixels;
use lfbm_wire as proto;

use super::ServiceError;
use super::call::Call;
use super::core::Core;
use super::messages::model_id;
use super::render::{picture, rendered};
use crate::models::Model;
use crate::request::{ImageForm, Violation, sample_count};
use crate::wire;

/// Answers a message.
pub(super) async fn sample(
    core: &Core,
    call: &Call,
    request: proto::SampleRequest,
) -> Result<proto::SampleResponse, ServiceError> {
    let model = core.model(call, &request.model, request.version)?;
    let asked = Asked {
        count: request.count,
        seed: request.seed.unwrap_or_default(),
        form: wire::image_form(request.form),
    };
    answer(core, call, &model, asked).await
}

/// What a request for samples asks for, not yet known to be valid.
pub(crate) struct Asked {
    /// How many.
    pub(crate) count: u32,
    /// Decides the images.
    pub(crate) seed: u64,
    /// The form of the reply's images.
    pub(crate) form: Result<ImageForm, Violation>,
}

/// Draws samples.
pub(crate) async fn answer(
    core: &Core,
    call: &Call,
    model: &Arc<Model>,
    asked: Asked,
) -> Result<proto::SampleResponse, ServiceError> {
    model.needs_whole_images("samples")?;
    let Asked { count, seed, form } = asked;
    let count = sample_count(count, core.limits);
    let (count, form) = match (count, form) {
        (Ok(count), Ok(form)) => (count, form),
        (count, form) => {
            let violations = count.err().into_iter().chain(form.err());
            return Err(ServiceError::Invalid(violations.collect()));
        }
    };
    let of_samples = Arc::clone(model);
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
