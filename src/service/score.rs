//! `Score`.

use std::sync::Arc;

use super::ServiceError;
use super::core::{Call, Core, Outcome, Query, compute, counted};
use super::messages;
use crate::admission::Priority;
use crate::models::Model;
use crate::proto;
use crate::score::{judge, score as aggregate};

pub(super) async fn score(
    core: &Core,
    call: &Call,
    request: proto::ScoreRequest,
    default_priority: Priority,
) -> Result<proto::ScoreResponse, ServiceError> {
    let model = core.model(call, &request.model, request.version)?;
    let scored = score_by(core, call, Arc::clone(&model), request, default_priority);
    counted(&model, scored).await
}

/// Scores by a model that the caller holds, whatever model the request names.
pub(super) async fn score_by(
    core: &Core,
    call: &Call,
    model: Arc<Model>,
    request: proto::ScoreRequest,
    default_priority: Priority,
) -> Result<proto::ScoreResponse, ServiceError> {
    let query = Query {
        image: request.image,
        mask: request.mask,
        inference: request.inference,
        priority: request.priority,
        default_priority,
        needs_mask: false,
        form: None,
    };
    let outcome = core.infer(call, model, query).await?;
    compute(outcome.pixels(), move || judged(&outcome)).await?
}

/// One score of an image's chains, and what the calibration says of it.
pub(super) fn judged(outcome: &Outcome) -> Result<proto::ScoreResponse, ServiceError> {
    let Outcome {
        model,
        langevin,
        mask,
        inferred,
        ..
    } = outcome;
    let _reply = tracing::debug_span!("reply").entered();
    let score = aggregate(&inferred.chains, langevin.aggregation)?;
    let calibrated = mask.is_none() && *langevin == model.manifest.langevin;
    let judgement = calibrated.then(|| {
        judge(
            score.log_joint,
            &inferred.x,
            &model.manifest,
            &model.calibration,
        )
    });
    if let Some(judgement) = judgement {
        let numbers = [
            judgement.p_value,
            judgement.local_score,
            judgement.local_p_value,
        ];
        if !numbers.iter().all(|number| number.is_finite()) {
            return Err(ServiceError::NotFinite("the local score"));
        }
        let p_value = judgement.deciding_p_value(model.manifest.calibration.decision);
        model
            .metrics
            .observe_score(score.log_joint, p_value, judgement.anomalous);
    }
    Ok(messages::score_response(
        &score,
        judgement,
        inferred,
        &model.manifest,
    ))
}
