//! `Explain`.

use lfbm_bundle::pixels;

use super::ServiceError;
use super::core::{Call, Core, Outcome, Query, compute};
use super::messages::chain_score;
use super::render::{heat, picture, rendered};
use super::score::judged;
use crate::admission::Priority;
use crate::proto;
use crate::wire;

pub(super) async fn explain(
    core: &Core,
    call: &Call,
    request: proto::ExplainRequest,
) -> Result<proto::ExplainResponse, ServiceError> {
    let form = wire::image_form(request.form)?;
    let query = Query {
        model: request.model,
        version: request.version,
        image: request.image,
        mask: request.mask,
        inference: request.inference,
        priority: request.priority,
        default_priority: Priority::Interactive,
        reconstruct: true,
    };
    let outcome = core.infer(call, query).await?;
    let score = judged(&outcome)?;
    let pixels = outcome.model.manifest.image.pixels();
    compute(pixels, move || respond(&outcome, score, form)).await?
}

fn respond(
    outcome: &Outcome,
    score: proto::ScoreResponse,
    form: proto::ImageForm,
) -> Result<proto::ExplainResponse, ServiceError> {
    let Outcome {
        model,
        image,
        mask,
        inferred,
        ..
    } = outcome;
    let _reply = tracing::info_span!("reply").entered();
    let spec = &model.manifest.image;
    let chains = inferred.chains.iter().zip(&inferred.reconstructions);
    let best = chains.max_by(|(a, _), (b, _)| a.log_joint().total_cmp(&b.log_joint()));
    let x = best.map_or(&[][..], |(_, x)| x);
    let reconstruction = pixels::from_x(x, spec, Some(image));
    let differences = image.iter().zip(&reconstruction).map(|(a, b)| a - b);
    let residual: Vec<f32> = match mask {
        None => differences.collect(),
        Some(mask) => {
            let visible = mask.iter().cycle();
            differences.zip(visible).map(|(d, v)| d * v).collect()
        }
    };
    let chains: Vec<_> = inferred.chains.iter().map(chain_score).collect();
    Ok(proto::ExplainResponse {
        score: Some(score),
        reconstruction: Some(rendered(&reconstruction, spec, form, picture)?),
        residual: Some(rendered(&residual, spec, form, heat)?),
        chains,
    })
}
