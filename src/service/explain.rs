//! `Explain`.

use std::sync::Arc;

use lfbm_wire as proto;

use super::ServiceError;
use super::call::Call;
use super::core::{Core, Outcome, counted};
use super::messages::{chain_score, score_response};
use super::nearest::nearest_normals;
use super::overlay::Heats;
use super::render::{heat, picture, rendered};
use super::scoring::Scored;
use crate::models::Model;
use crate::request::Draft;
use crate::request::ImageForm;
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
    let explained = core.judge(call, Arc::clone(model), draft, respond);
    counted(model, explained).await
}

fn respond(outcome: &Outcome, scored: Scored) -> Result<proto::ExplainResponse, ServiceError> {
    let reply = proto::ExplainResponse {
        score: Some(score_response(&scored, &outcome.model.manifest)),
        nearest_normals: nearest_normals(outcome, &scored),
        ..Default::default()
    };
    let _reply = tracing::debug_span!("reply").entered();
    if outcome.model.makes_pixels() {
        explain_whole(outcome, reply)
    } else {
        explain_sites(outcome, &scored, reply)
    }
}

/// By what the model makes of the image.
fn explain_whole(
    outcome: &Outcome,
    reply: proto::ExplainResponse,
) -> Result<proto::ExplainResponse, ServiceError> {
    let (spec, form) = (&outcome.model.manifest.image, outcome.form);
    let best = outcome.best_first().into_iter().next();
    let reconstruction = best.map(|chain| outcome.reconstruction(chain));
    let reconstruction = reconstruction.transpose()?.unwrap_or_default();
    let differences = outcome.image.iter().zip(&reconstruction);
    let differences = differences.map(|(a, b)| a - b);
    let residual: Vec<f32> = match &outcome.mask {
        None => differences.collect(),
        Some(mask) => {
            let visible = mask.iter().cycle();
            differences.zip(visible).map(|(d, v)| d * v).collect()
        }
    };
    let heats = Heats::of_residual(&residual, spec);
    Ok(proto::ExplainResponse {
        overlay: overlay(outcome, &heats)?,
        reconstruction: Some(rendered(&reconstruction, spec, form, picture)?),
        residual: Some(rendered(&residual, spec, form, heat)?),
        chains: outcome.inferred.chains.iter().map(chain_score).collect(),
        ..reply
    })
}

/// By the map of the image's sites.
fn explain_sites(
    outcome: &Outcome,
    scored: &Scored,
    reply: proto::ExplainResponse,
) -> Result<proto::ExplainResponse, ServiceError> {
    let judgement = scored.judgement.as_ref();
    let sites = judgement.and_then(|judgement| judgement.compared.sites());
    let Some(sites) = sites else {
        return Ok(reply);
    };
    let heats = Heats::of_map(&sites.map, sites.grid, sites.threshold);
    Ok(proto::ExplainResponse {
        overlay: overlay(outcome, &heats)?,
        ..reply
    })
}

fn overlay(outcome: &Outcome, heats: &Heats) -> Result<Vec<u8>, ServiceError> {
    if outcome.form == ImageForm::Tensor {
        return Ok(Vec::new());
    }
    Ok(heats.over(&outcome.image, &outcome.model.manifest.image)?)
}
