//! One score of an image's chains, and what the calibration says of it.

use std::sync::Arc;
use std::time::Duration;

use lfbm_bundle::manifest::Decision;
use lfbm_detector::Score;
use lfbm_images::Placement;

use super::call::Call;
use super::core::{Core, Outcome, compute};
use super::{ServiceError, audited};
use crate::audit::{Answer, Verdict};
use crate::models::Model;
use crate::request::Draft;
use crate::score::{Judgement, aggregate_sites, judge, sum};
use crate::shadow::{Candidate, ImageId, Judged};

/// A score, as every protocol's replies have it.
pub(super) struct Scored {
    pub(super) score: Score,
    /// Absent where the calibration does not hold: for a masked image, or for parameters that are not
    /// the model's own.
    pub(super) judgement: Option<Judgement>,
    /// Where the pixels of the image as it came lie in the model's.
    pub(super) placement: Placement,
    /// Whether the reply is to have the map of sites.
    pub(super) map: bool,
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
        self.judge(call, model, draft, |_, scored| Ok(scored)).await
    }

    /// Scores an image and makes a reply of its score, with a line of the audit log and a comparison with
    /// shadow versions: the one way to a score.
    pub(super) async fn judge<T: Send + 'static>(
        &self,
        call: &Call,
        model: Arc<Model>,
        draft: Draft,
        reply: impl FnOnce(&Outcome, Scored) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<T, ServiceError> {
        let (line, draft) = match &self.audit {
            None => (None, draft),
            Some(log) => {
                let (line, draft) = audited::begin(log, call, &model, draft).await?;
                (Some(line), draft)
            }
        };
        let candidates = self.candidates(call, &model, &draft);
        let judged = self.infer_and_judge(call, model, draft, reply).await;
        if let Ok((Answer { judged, .. }, _)) = &judged
            && let Some((_, p_value, verdict)) = *judged
        {
            let live = Judged {
                p_value,
                anomalous: verdict == Verdict::Anomalous,
            };
            for candidate in candidates {
                candidate.compare_with(live);
            }
        }
        match line {
            None => judged.map(|(_, reply)| reply),
            Some(line) => audited::end(line, judged),
        }
    }

    /// The image of a draft, kept for shadow versions; for none where the calibration does not hold for what
    /// the draft asks for.
    fn candidates(&self, call: &Call, model: &Model, draft: &Draft) -> Vec<Candidate> {
        let Some(shadows) = &self.shadows else {
            return Vec::new();
        };
        let manifest = &model.manifest;
        let sites = manifest.sites();
        let asked = (draft.parameters).validate(sites, &manifest.langevin, self.limits);
        let is_own = asked.is_ok_and(|(langevin, _)| langevin == manifest.langevin);
        if draft.mask.is_some() || !is_own {
            return Vec::new();
        }
        let id = ImageId {
            request: Arc::clone(&call.caller().request_id),
            item: call.item().cloned(),
        };
        shadows.pick(&manifest.name, manifest.version, draft, &id)
    }

    async fn infer_and_judge<T: Send + 'static>(
        &self,
        call: &Call,
        model: Arc<Model>,
        draft: Draft,
        reply: impl FnOnce(&Outcome, Scored) -> Result<T, ServiceError> + Send + 'static,
    ) -> Result<(Answer, T), ServiceError> {
        let outcome = self.infer(call, model, draft).await?;
        let work = outcome.work();
        let judge = move || {
            let scored = Scored::new(&outcome)?;
            let decision = outcome.model.manifest.calibration.decision;
            let answer = scored.answer(decision);
            Ok((answer, reply(&outcome, scored)?))
        };
        compute(work, judge).await?
    }
}

impl Scored {
    /// What the audit log says of it; `decision` is what the model's verdicts are made by.
    fn answer(&self, decision: Decision) -> Answer {
        let log_joint = self.score.log_joint;
        let judged = self.judgement.as_ref().map(|judgement| {
            let score = match decision {
                Decision::LogJoint => log_joint,
                Decision::Local | Decision::Sites => judgement.compared.ranked().score,
            };
            let verdict = match judgement.anomalous {
                true => Verdict::Anomalous,
                false => Verdict::Normal,
            };
            (score, judgement.deciding_p_value(decision), verdict)
        });
        Answer { log_joint, judged }
    }

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
        let sites = aggregate_sites(&inferred.chains, manifest.sites(), langevin.aggregation)?;
        let score = sum(&sites)?;
        let calibrated = mask.is_none() && *langevin == manifest.langevin;
        let thresholds = outcome.thresholds();
        let judge = || judge(&score, &sites, &inferred.x, &model.calibration, thresholds);
        let judgement = calibrated.then(judge);
        if let Some(judgement) = &judgement {
            if !judgement.is_finite() {
                return Err(ServiceError::NotFinite("the comparison with normal images"));
            }
            let p_value = judgement.deciding_p_value(manifest.calibration.decision);
            model
                .metrics
                .observe_score(score.log_joint, p_value, judgement.anomalous);
        }
        Ok(Self {
            score,
            judgement,
            placement: outcome.placement,
            map: outcome.judging.map,
            queue_time: inferred.queue_time,
            compute_time: inferred.compute_time,
        })
    }
}
