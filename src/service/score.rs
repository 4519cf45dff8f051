//! `Score`.

use std::sync::Arc;

use lfbm_wire as proto;

use super::ServiceError;
use super::call::Call;
use super::core::{Core, counted};
use super::messages;
use crate::models::Model;
use crate::request::{Draft, Priority};
use crate::wire;

/// Answers a message.
pub(super) async fn score(
    core: &Core,
    call: &Call,
    request: proto::ScoreRequest,
    default_priority: Priority,
) -> Result<proto::ScoreResponse, ServiceError> {
    let model = core.model(call, &request.model, request.version)?;
    let draft = wire::score_draft(request, default_priority);
    answer(core, call, &model, draft).await
}

/// Scores the image of a draft.
pub(crate) async fn answer(
    core: &Core,
    call: &Call,
    model: &Arc<Model>,
    draft: Draft,
) -> Result<proto::ScoreResponse, ServiceError> {
    let scored = counted(model, core.score(call, Arc::clone(model), draft)).await?;
    Ok(messages::score_response(&scored, &model.manifest))
}
