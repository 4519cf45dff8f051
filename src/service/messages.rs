//! Messages of `lfbm.v1`, made of what was computed.

use std::time::Duration;

use lfbm_bundle::manifest::{
    Aggregation, ChainStart, Decision, Manifest, PriorKind, RepresentationKind, RepresentationSpec,
};
use lfbm_detector::{ChainScore, smallest_rate};
use lfbm_runtime::SCORE_SEED;
use lfbm_wire as proto;

use super::located::{anomaly_map, regions};
use super::scoring::Scored;
use crate::models::Model;
use crate::score::{Compared, Judgement};

pub(super) fn score_response(scored: &Scored, manifest: &Manifest) -> proto::ScoreResponse {
    let score = &scored.score;
    let mut reply = proto::ScoreResponse {
        log_joint: score.log_joint,
        log_prior: score.log_prior,
        log_likelihood: score.log_likelihood,
        log_joint_std: score.log_joint_std,
        log_prior_std: score.log_prior_std,
        log_likelihood_std: score.log_likelihood_std,
        model: Some(model_id(manifest)),
        queue_time: Some(duration(scored.queue_time)),
        compute_time: Some(duration(scored.compute_time)),
        prior_unnormalized: !manifest.prior.is_normalized(),
        representation: representation_kind(&manifest.representation).into(),
        ..Default::default()
    };
    if let Some(judgement) = &scored.judgement {
        add_judgement(&mut reply, judgement, scored);
    }
    reply
}

fn add_judgement(reply: &mut proto::ScoreResponse, judgement: &Judgement, scored: &Scored) {
    let verdict = if judgement.anomalous {
        proto::Verdict::Anomalous
    } else {
        proto::Verdict::Normal
    };
    reply.verdict = verdict.into();
    reply.p_value = Some(judgement.p_value);
    reply.false_alarm_rate = Some(judgement.false_alarm_rate);
    match &judgement.compared {
        Compared::Local(local) => {
            reply.local_score = Some(local.score);
            reply.local_p_value = Some(local.p_value);
        }
        Compared::Sites(sites) => {
            reply.site_score = Some(sites.ranked.score);
            reply.site_p_value = Some(sites.ranked.p_value);
            reply.map_threshold = Some(sites.threshold);
            reply.regions = regions(sites, &scored.placement);
            reply.map = scored.map.then(|| anomaly_map(sites, &scored.placement));
        }
    }
}

pub(super) fn chain_score(chain: &ChainScore) -> proto::ChainScore {
    proto::ChainScore {
        log_joint: chain.log_joint(),
        log_prior: chain.log_prior,
        log_likelihood: chain.log_likelihood,
    }
}

pub(crate) fn model(model: &Model) -> proto::Model {
    let (manifest, thresholds) = (&model.manifest, &model.thresholds);
    let ranked = model.calibration.ranked();
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
        threshold_log_joint: thresholds.threshold_log_joint,
        false_positive_rate: thresholds.false_positive_rate,
        normal_classes: manifest.classes.normal.clone(),
        threshold_local_score: (thresholds.threshold_local_score).unwrap_or_default(),
        decision: match thresholds.decision {
            Decision::LogJoint => proto::Decision::LogJoint,
            Decision::Local => proto::Decision::Local,
            Decision::Sites => proto::Decision::Sites,
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
        representation: Some(representation(&manifest.representation)),
        threshold_site_score: thresholds.threshold_site_score,
        map_threshold: thresholds.map_threshold,
        ranked_images: u32::try_from(ranked).unwrap_or(u32::MAX),
        smallest_false_alarm_rate: smallest_rate(ranked),
    }
}

fn representation(spec: &RepresentationSpec) -> proto::Representation {
    let network = spec.network.as_ref();
    proto::Representation {
        kind: representation_kind(spec).into(),
        rows: spec.rows as u32,
        columns: spec.columns as u32,
        values: spec.values as u64,
        network: network.map(|network| proto::FeatureNetwork {
            name: network.name.clone(),
            licence: network.licence.clone(),
        }),
    }
}

fn representation_kind(spec: &RepresentationSpec) -> proto::RepresentationKind {
    match spec.kind {
        RepresentationKind::Pixels => proto::RepresentationKind::Pixels,
        RepresentationKind::Hog => proto::RepresentationKind::Hog,
        RepresentationKind::Contrastive => proto::RepresentationKind::Contrastive,
        RepresentationKind::HogContrastive => proto::RepresentationKind::HogContrastive,
        RepresentationKind::Orientations => proto::RepresentationKind::Orientations,
        RepresentationKind::Network => proto::RepresentationKind::Network,
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
