//! One score of an image's chains, and what the calibration says of it.

use std::sync::Arc;
use std::time::Duration;

use lfbm_detector::Score;

use super::ServiceError;
use super::call::Call;
use super::core::{Core, Outcome, compute};
use crate::models::Model;
use crate::request::Draft;
use crate::score::{Judgement, aggregate, judge};

/// A score, as every protocol's replies have it.
pub(super) struct Scored {
    pub(super) score: Score,
    /// Absent where the calibration does not hold: for a masked image, or for parameters that are not
    /// the model's own.
    pub(super) judgement: Option<Judgement>,
    /// From admission to the first step.
    pub(super) queue_time: Duration,
    /// From the first step to the end of the last chain.
    pub(super) compute_time: Duration,
}

impl Core {
    /// Scores an image.
    pub(super) async fn score(
        &self,
        call: &Call,
        model: Arc<Model>,
        draft: Draft,
    ) -> Result<Scored, ServiceError> {
        let outcome = self.infer(call, model, draft).await?;
        compute(outcome.pixels(), move || Scored::new(&outcome)).await?
    }
}

impl Scored {
    /// Makes the score, and counts it among the model's.
    pub(super) fn new(outcome: &Outcome) -> Result<Self, ServiceError> {
        let Outcome {
            model,
            langevin,
            mask,
            inferred,
            ..
        } = outcome;
        let _reply = tracing::debug_span!("reply").entered();
        let manifest = &model.manifest;
        let score = aggregate(&inferred.chains, langevin.aggregation)?;
        let calibrated = mask.is_none() && *langevin == manifest.langevin;
        let judgement =
            calibrated.then(|| judge(score.log_joint, &inferred.x, manifest, &model.calibration));
        if let Some(judgement) = judgement {
            let values = [
                judgement.p_value,
                judgement.local_score,
                judgement.local_p_value,
            ];
            if !values.iter().all(|value| value.is_finite()) {
                return Err(ServiceError::NotFinite("the local score"));
            }
            let p_value = judgement.deciding_p_value(manifest.calibration.decision);
            model
                .metrics
                .observe_score(score.log_joint, p_value, judgement.anomalous);
        }
        Ok(Self {
            score,
            judgement,
            queue_time: inferred.queue_time,
            compute_time: inferred.compute_time,
        })
    }
}
