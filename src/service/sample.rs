//! `Sample`.

use std::sync::Arc;

use lfbm_bundle::pixels;
use tracing::Span;

use super::ServiceError;
use super::core::{Call, Core};
use super::messages::model_id;
use super::render::{picture, rendered};
use crate::admission::Priority;
use crate::proto;
use crate::wire;

pub(super) async fn sample(
    core: &Core,
    call: &Call,
    request: proto::SampleRequest,
) -> Result<proto::SampleResponse, ServiceError> {
    let model = core.model(call, &request.model, request.version)?;
    let count = wire::sample_count(request.count, core.limits);
    let form = wire::image_form(request.form);
    let (count, form) = match (count, form) {
        (Ok(count), Ok(form)) => (count, form),
        (count, form) => {
            let violations = count.err().into_iter().chain(form.err());
            return Err(ServiceError::Invalid(violations.collect()));
        }
    };
    // A sample counts as a chain, so that samples cannot fill the server either.
    let permit = core
        .admission
        .admit(Priority::Interactive, count, None, None)?;
    let mut sampler = Arc::clone(&model.sampler).lock_owned().await;
    let span = Span::current();
    let work = move || {
        let _entered = span.enter();
        let _permit = permit;
        let spec = &model.manifest.image;
        let x = sampler.sample(count as usize, request.seed.unwrap_or_default())?;
        let images = x.chunks(spec.pixels()).map(|x| {
            let intensities = pixels::from_x(x, spec, None);
            rendered(&intensities, spec, form, picture)
        });
        Ok(proto::SampleResponse {
            images: images.collect::<Result<_, _>>()?,
            model: Some(model_id(&model.manifest)),
        })
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| ServiceError::Panicked)?
}
