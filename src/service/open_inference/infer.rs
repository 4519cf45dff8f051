//! `ModelInfer`.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use lfbm_wire::inference::infer_parameter::ParameterChoice;
use lfbm_wire::inference::model_infer_response::InferOutputTensor;
use lfbm_wire::inference::{InferParameter, ModelInferRequest, ModelInferResponse};

use super::outputs::wanted;
use crate::models::Model;
use crate::request::{Draft, Image, Judging, Priority, Violation, check_id};
use crate::service::ServiceError;
use crate::service::call::Call;
use crate::service::core::{Core, compute};
use crate::service::scoring::Scored;
use crate::wire::open_inference as wire;

/// Scores every image of a request by one model, which is held until all of them are answered.
pub(crate) async fn infer(
    core: &Core,
    call: Call,
    model: &Arc<Model>,
    request: ModelInferRequest,
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
    let langevin = inference.validate(&manifest.langevin, core.limits);
    let (langevin, _) = langevin.map_err(|violations| {
        let of_parameters = |violation: Violation| {
            let name = violation.field.trim_start_matches("inference.");
            Violation::new(
                wire::PARAMETERS,
                format!("{name}: {}", violation.description),
            )
        };
        ServiceError::Invalid(violations.into_iter().map(of_parameters).collect())
    })?;
    model
        .thresholds_at(false_alarm_rate)
        .map_err(|error| Violation::new(wire::PARAMETERS, format!("false_alarm_rate: {error}")))?;
    let outputs = wanted(&request, manifest, langevin == manifest.langevin)?;
    let (request_id, spec) = (request.id.clone(), manifest.image);
    let size = request.raw_input_contents.iter().map(Vec::len).sum();
    let images = compute(size, move || wire::images(&request, &spec)).await??;
    let priority = priority.unwrap_or(match images.len() {
        1 => Priority::Interactive,
        _ => Priority::Bulk,
    });
    let count = images.len() as i64;
    let call = &call.within(timeout);
    let scores = images.into_iter().enumerate().map(|(index, image)| {
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
            scored.map_err(|error| of_image(index, error))
        }
    });
    let scores: Vec<Scored> = stream::iter(scores)
        .buffered(core.limits.stream_in_flight)
        .try_collect()
        .await?;
    let raw = outputs.iter().map(|output| output.bytes(&scores));
    Ok(ModelInferResponse {
        model_name: manifest.name.clone(),
        model_version: manifest.version.to_string(),
        id: request_id,
        parameters: [(
            "prior_unnormalized".to_owned(),
            InferParameter {
                parameter_choice: Some(ParameterChoice::BoolParam(!manifest.prior.is_normalized())),
            },
        )]
        .into(),
        raw_output_contents: raw.collect(),
        outputs: outputs
            .iter()
            .map(|output| InferOutputTensor {
                name: output.name.to_owned(),
                datatype: output.datatype().to_owned(),
                shape: vec![count],
                ..Default::default()
            })
            .collect(),
    })
}

/// An error that says which image it is of.
fn of_image(index: usize, error: ServiceError) -> ServiceError {
    match error {
        ServiceError::Invalid(violations) => {
            let of_image = |violation: Violation| {
                let description = format!("image {index}: {}", violation.description);
                Violation::new(wire::CONTENTS, description)
            };
            ServiceError::Invalid(violations.into_iter().map(of_image).collect())
        }
        other => other,
    }
}
