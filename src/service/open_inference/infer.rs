//! `ModelInfer`.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use lfbm_wire::inference::infer_parameter::ParameterChoice;
use lfbm_wire::inference::model_infer_response::InferOutputTensor;
use lfbm_wire::inference::{InferParameter, ModelInferRequest, ModelInferResponse};

use super::models::most_images;
use super::outputs::wanted;
use crate::admission::{Refusal, Work};
use crate::models::Model;
use crate::request::{Draft, Image, Judging, Priority, Violation, check_id, check_tensor};
use crate::service::ServiceError;
use crate::service::call::Call;
use crate::service::core::{Core, compute};
use crate::wire::open_inference as wire;

/// What an output takes for an image at most.
const VALUE_BYTES: usize = size_of::<f64>();

/// Scores every image of a request by one model, which is held until all of them are answered; none if one
/// of them is invalid. Messages have at most so many bytes.
pub(crate) async fn infer(
    core: &Core,
    call: Call,
    model: &Arc<Model>,
    request: ModelInferRequest,
    max_message_bytes: usize,
) -> Result<ModelInferResponse, ServiceError> {
    check_id(&request.id)?;
    let manifest = &model.manifest;
    let parameters = wire::infer_parameters(&request.parameters);
    let wire::CallParameters {
        inference,
        priority,
        timeout,
        false_alarm_rate,
    } = parameters.map_err(ServiceError::Invalid)?;
    let langevin = inference.validate(manifest.sites(), &manifest.langevin, core.limits);
    let (langevin, _) = langevin.map_err(|violations| {
        ServiceError::Invalid(violations.into_iter().map(of_parameter).collect())
    })?;
    model
        .thresholds_at(false_alarm_rate)
        .map_err(|error| Violation::new(wire::PARAMETERS, format!("false_alarm_rate: {error}")))?;
    let outputs = wanted(&request, manifest, langevin == manifest.langevin)?;
    let (request_id, spec) = (request.id.clone(), manifest.image);
    let raw: usize = request.raw_input_contents.iter().map(Vec::len).sum();
    let contents = request
        .inputs
        .iter()
        .filter_map(|input| input.contents.as_ref());
    let values = contents.map(|typed| typed.fp32_contents.len() + typed.uint_contents.len());
    let size = raw + values.sum::<usize>();
    let most = most_images(manifest, max_message_bytes);
    let max_pixels = core.limits.image_pixels;
    let read = move || {
        let images = wire::images(request, &spec, most)?;
        for (index, image) in images.tensors().enumerate() {
            check_tensor(&image, &spec, max_pixels)
                .map_err(|violation| of_image(index, violation))?;
        }
        Ok::<_, Violation>(images)
    };
    let images = compute(size, read).await??;
    let count = images.count();
    let priority = priority.unwrap_or(match count {
        1 => Priority::Interactive,
        _ => Priority::Bulk,
    });
    let columns_bytes = VALUE_BYTES * outputs.len() * count;
    let room = core.memory.check_fits(call.holds(), columns_bytes);
    room.map_err(|too_large| {
        let description = format!("expected fewer images, got {count}, whose reply {too_large}");
        Violation::new(wire::SHAPE, description)
    })?;
    let _columns_memory = core.memory.take(columns_bytes)?;
    let holds = call.holds() + columns_bytes;
    let call = &call.within(timeout).holding(holds);
    let idle = || model.scheduler.estimate(priority, &langevin).is_none();
    let is_alone = count > 1 && idle();
    let scores = images.tensors().enumerate().map(|(index, image)| {
        let draft = Draft {
            image: Some(Image::Tensor(image)),
            mask: None,
            needs_mask: false,
            parameters: inference.clone(),
            priority: Ok(priority),
            images: Ok(None),
            judging: Judging {
                false_alarm_rate,
                map: false,
            },
        };
        let call = call.for_item(&index.to_string());
        async move {
            let scored = core.score(&call, Arc::clone(model), draft).await;
            scored.map_err(|error| match error {
                ServiceError::Invalid(violations) => {
                    let violations = violations.into_iter();
                    ServiceError::Invalid(violations.map(|v| of_image(index, v)).collect())
                }
                // The server was idle when the request came: its other images make it late.
                ServiceError::Refused(Refusal::Deadline { needed, left, .. }) if is_alone => {
                    ServiceError::Refused(Refusal::Unreachable {
                        work: Work::Chains,
                        run: needed,
                        left,
                    })
                }
                other => other,
            })
        }
    });
    let mut scores = stream::iter(scores).buffered(core.limits.stream_in_flight);
    let column = || Vec::with_capacity(VALUE_BYTES * count);
    let mut columns: Vec<_> = outputs.iter().map(|_| column()).collect();
    while let Some(scored) = scores.try_next().await? {
        for (output, column) in outputs.iter().zip(&mut columns) {
            output.append(&scored, column);
        }
    }
    let outputs = outputs.iter().map(|output| InferOutputTensor {
        name: output.name.to_owned(),
        datatype: output.datatype().to_owned(),
        shape: vec![count as i64],
        ..Default::default()
    });
    let is_unnormalized = !manifest.prior.is_normalized();
    let parameter = InferParameter {
        parameter_choice: Some(ParameterChoice::BoolParam(is_unnormalized)),
    };
    Ok(ModelInferResponse {
        model_name: manifest.name.clone(),
        model_version: manifest.version.to_string(),
        id: request_id,
        parameters: [("prior_unnormalized".to_owned(), parameter)].into(),
        outputs: outputs.collect(),
        raw_output_contents: columns,
    })
}

/// A violation that says which of the request's parameters it is of.
fn of_parameter(violation: Violation) -> Violation {
    let name = violation.field.trim_start_matches("inference.");
    let description = format!("{name}: {}", violation.description);
    Violation::new(wire::PARAMETERS, description)
}

/// A violation that says which image it is of.
fn of_image(index: usize, violation: Violation) -> Violation {
    let description = format!("image {index}: {}", violation.description);
    Violation::new(wire::CONTENTS, description)
}
