//! `Inpaint`.

use std::sync::Arc;

use lfbm_model::pixels;
use lfbm_wire as proto;

use super::ServiceError;
use super::call::Call;
use super::core::{Core, Outcome, compute, counted};
use super::messages::{chain_score, duration, model_id};
use super::render::{picture, rendered};
use crate::{score, wire};

const DEFAULT_COMPLETIONS: u32 = 4;

pub(super) async fn inpaint(
    core: &Core,
    call: &Call,
    request: proto::InpaintRequest,
) -> Result<proto::InpaintResponse, ServiceError> {
    let model = core.model(call, &request.model, request.version)?;
    model.needs_whole_images("completions")?;
    let completions = DEFAULT_COMPLETIONS.min(core.limits.chains);
    let draft = wire::inpaint_draft(request, completions);
    let inpainted = async {
        let outcome = core.infer(call, Arc::clone(&model), draft).await?;
        score::check(&outcome.inferred.chains)?;
        let pixels = outcome.inferred.chains.len() * outcome.image.len();
        compute(pixels, move || respond(&outcome)).await?
    };
    counted(&model, inpainted).await
}

fn respond(outcome: &Outcome) -> Result<proto::InpaintResponse, ServiceError> {
    let _reply = tracing::debug_span!("reply").entered();
    let (manifest, inferred) = (&outcome.model.manifest, &outcome.inferred);
    let completions = outcome.best_first().into_iter().map(|chain| {
        let image = &outcome.image;
        let completed = match &outcome.mask {
            Some(mask) => pixels::complete(image, mask, &outcome.reconstruction(chain)?),
            None => image.clone(),
        };
        Ok(proto::Completion {
            image: Some(rendered(
                &completed,
                &manifest.image,
                outcome.form,
                picture,
            )?),
            score: Some(chain_score(&inferred.chains[chain])),
            chain: chain as u32,
        })
    });
    Ok(proto::InpaintResponse {
        completions: completions.collect::<Result<_, ServiceError>>()?,
        model: Some(model_id(manifest)),
        queue_time: Some(duration(inferred.queue_time)),
        compute_time: Some(duration(inferred.compute_time)),
    })
}
