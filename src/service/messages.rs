//! Messages of `lfbm.v1`, made of what was computed.

use std::time::Duration;

use lfbm_bundle::manifest::{Aggregation, ChainStart, Decision, Manifest, PriorKind};
use lfbm_detector::ChainScore;
use lfbm_runtime::SCORE_SEED;
use lfbm_wire as proto;

use super::scoring::Scored;
use crate::score::Judgement;

pub(super) fn score_response(scored: &Scored, manifest: &Manifest) -> proto::ScoreResponse {
    let Scored {
        score, judgement, ..
    } = scored;
    let judgement = *judgement;
    let verdict = match judgement {
        None => proto::Verdict::Unspecified,
        Some(Judgement {
            anomalous: false, ..
        }) => proto::Verdict::Normal,
        Some(Judgement {
            anomalous: true, ..
        }) => proto::Verdict::Anomalous,
    };
    proto::ScoreResponse {
        log_joint: score.log_joint,
        log_prior: score.log_prior,
        log_likelihood: score.log_likelihood,
        log_joint_std: score.log_joint_std,
        log_prior_std: score.log_prior_std,
        log_likelihood_std: score.log_likelihood_std,
        p_value: judgement.map(|judgement| judgement.p_value),
        verdict: verdict.into(),
        model: Some(model_id(manifest)),
        queue_time: Some(duration(scored.queue_time)),
        compute_time: Some(duration(scored.compute_time)),
        local_score: judgement.map(|judgement| judgement.local_score),
        local_p_value: judgement.map(|judgement| judgement.local_p_value),
        prior_unnormalized: !manifest.prior.is_normalized(),
    }
}

pub(super) fn chain_score(chain: &ChainScore) -> proto::ChainScore {
    proto::ChainScore {
        log_joint: chain.log_joint(),
        log_prior: chain.log_prior,
        log_likelihood: chain.log_likelihood,
    }
}

pub(crate) fn model(manifest: &Manifest) -> proto::Model {
    let langevin = &manifest.langevin;
    let aggregation = match langevin.aggregation {
        Aggregation::Mean => proto::Aggregation::Mean,
        Aggregation::Max => proto::Aggregation::Max,
        Aggregation::LogMeanExp => proto::Aggregation::LogMeanExp,
    };
    proto::Model {
        id: Some(model_id(manifest)),
        image: Some(proto::ImageSpec {
            channels: manifest.image.channels as u32,
            height: manifest.image.height as u32,
            width: manifest.image.width as u32,
        }),
        latent_dim: manifest.latent_dim as u32,
        generator: manifest.generator.clone(),
        inference: Some(proto::InferenceParameters {
            steps: Some(langevin.steps),
            step_size: Some(langevin.step_size),
            noise_free_steps: Some(langevin.noise_free_steps),
            chains: Some(langevin.chains),
            aggregation: aggregation.into(),
            seed: Some(SCORE_SEED),
        }),
        threshold_log_joint: manifest.calibration.threshold_log_joint,
        false_positive_rate: manifest.calibration.false_positive_rate,
        normal_classes: manifest.classes.normal.clone(),
        threshold_local_score: manifest.calibration.threshold_local_score,
        decision: match manifest.calibration.decision {
            Decision::LogJoint => proto::Decision::LogJoint,
            Decision::Local => proto::Decision::Local,
        }
        .into(),
        prior: match manifest.prior {
            PriorKind::Flow => proto::Prior::Flow,
            PriorKind::Ebm => proto::Prior::Ebm,
            PriorKind::Gaussian => proto::Prior::Gaussian,
        }
        .into(),
        chain_start: match manifest.chain_start {
            ChainStart::StandardNormal => proto::ChainStart::StandardNormal,
            ChainStart::Encoder => proto::ChainStart::Encoder,
        }
        .into(),
    }
}

pub(super) fn model_id(manifest: &Manifest) -> proto::ModelId {
    proto::ModelId {
        name: manifest.name.clone(),
        version: manifest.version,
    }
}

pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: duration.as_secs() as i64,
        nanos: duration.subsec_nanos() as i32,
    }
}
