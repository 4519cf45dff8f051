//! `Explain`.

use std::sync::Arc;

use lfbm_wire as proto;

use super::ServiceError;
use super::call::Call;
use super::core::{Core, Outcome, compute, counted};
use super::messages::{chain_score, score_response};
use super::render::{heat, picture, rendered};
use super::scoring::Scored;
use crate::models::Model;
use crate::request::Draft;
use crate::wire;

/// Answers a message.
pub(super) async fn explain(
    core: &Core,
    call: &Call,
    request: proto::ExplainRequest,
) -> Result<proto::ExplainResponse, ServiceError> {
    let model = core.model(call, &request.model, request.version)?;
    answer(core, call, &model, wire::explain_draft(request)).await
}

/// Scores and explains the image of a draft.
pub(crate) async fn answer(
    core: &Core,
    call: &Call,
    model: &Arc<Model>,
    draft: Draft,
) -> Result<proto::ExplainResponse, ServiceError> {
    let explained = async {
        let outcome = core.infer(call, Arc::clone(model), draft).await?;
        compute(outcome.pixels(), move || respond(&outcome)).await?
    };
    counted(model, explained).await
}

fn respond(outcome: &Outcome) -> Result<proto::ExplainResponse, ServiceError> {
    let manifest = &outcome.model.manifest;
    let score = score_response(&Scored::new(outcome)?, manifest);
    let _reply = tracing::debug_span!("reply").entered();
    let (spec, form) = (&manifest.image, outcome.form);
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
