//! `Explain`.

use std::sync::Arc;

use super::ServiceError;
use super::core::{Call, Core, Outcome, Query, compute, counted};
use super::messages::chain_score;
use super::render::{heat, picture, rendered};
use super::score::judged;
use crate::admission::Priority;
use crate::proto;

pub(super) async fn explain(
    core: &Core,
    call: &Call,
    request: proto::ExplainRequest,
) -> Result<proto::ExplainResponse, ServiceError> {
    let model = core.model(call, &request.model, request.version)?;
    let query = Query {
        image: request.image,
        mask: request.mask,
        inference: request.inference,
        priority: request.priority,
        default_priority: Priority::Interactive,
        needs_mask: false,
        form: Some(request.form),
    };
    let explained = async {
        let outcome = core.infer(call, Arc::clone(&model), query).await?;
        compute(outcome.pixels(), move || respond(&outcome)).await?
    };
    counted(&model, explained).await
}

fn respond(outcome: &Outcome) -> Result<proto::ExplainResponse, ServiceError> {
    let score = judged(outcome)?;
    let _reply = tracing::debug_span!("reply").entered();
    let (spec, form) = (&outcome.model.manifest.image, outcome.form);
    let best = outcome.best_first().into_iter().next();
    let reconstruction = best.map_or_else(Vec::new, |chain| outcome.reconstruction(chain));
    let differences = outcome.image.iter().zip(&reconstruction);
    let differences = differences.map(|(a, b)| a - b);
    let residual: Vec<f32> = match &outcome.mask {
        None => differences.collect(),
        Some(mask) => {
            let visible = mask.iter().cycle();
            differences.zip(visible).map(|(d, v)| d * v).collect()
        }
    };
    Ok(proto::ExplainResponse {
        score: Some(score),
        reconstruction: Some(rendered(&reconstruction, spec, form, picture)?),
        residual: Some(rendered(&residual, spec, form, heat)?),
        chains: outcome.inferred.chains.iter().map(chain_score).collect(),
    })
}
