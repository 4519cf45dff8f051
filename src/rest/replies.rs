//! Replies as JSON: those of `lfbm.v1`, with the same numbers. What is absent is null.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lfbm_wire as proto;
use serde::{Serialize, Serializer};

#[derive(Debug, Serialize)]
pub(super) struct Score {
    model: ModelId,
    /// `normal` or `anomalous`.
    verdict: Option<String>,
    log_joint: f64,
    log_prior: f64,
    log_likelihood: f64,
    log_joint_std: f64,
    log_prior_std: f64,
    log_likelihood_std: f64,
    p_value: Option<f64>,
    local_score: Option<f64>,
    local_p_value: Option<f64>,
    prior_unnormalized: bool,
    queue_time_s: f64,
    compute_time_s: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    score: Score,
    reconstruction: Picture,
    residual: Picture,
    chains: Vec<Chain>,
}

#[derive(Debug, Serialize)]
pub(super) struct Samples {
    model: ModelId,
    images: Vec<Picture>,
}

#[derive(Debug, Serialize)]
pub(super) struct Models {
    models: Vec<Model>,
}

#[derive(Debug, Serialize)]
pub(super) struct Model {
    name: String,
    version: u64,
    image: ImageSpec,
    latent_dim: u32,
    generator: String,
    prior: Option<String>,
    chain_start: Option<String>,
    inference: Inference,
    decision: Option<String>,
    threshold_log_joint: f64,
    threshold_local_score: f64,
    false_positive_rate: f64,
    normal_classes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ModelId {
    name: String,
    version: u64,
}

#[derive(Debug, Serialize)]
struct ImageSpec {
    channels: u32,
    height: u32,
    width: u32,
}

#[derive(Debug, Serialize)]
struct Inference {
    steps: Option<u32>,
    step_size: Option<f32>,
    noise_free_steps: Option<u32>,
    chains: Option<u32>,
    aggregation: Option<String>,
    seed: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Chain {
    log_joint: f64,
    log_prior: f64,
    log_likelihood: f64,
}

/// An image that the server made.
#[derive(Debug, Serialize)]
struct Picture {
    /// A PNG file; absent where only tensors were asked for.
    #[serde(serialize_with = "base64", skip_serializing_if = "Vec::is_empty")]
    png: Vec<u8>,
    /// Absent where only PNG files were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    tensor: Option<Tensor>,
}

#[derive(Debug, Serialize)]
struct Tensor {
    data_type: Option<String>,
    shape: Vec<u64>,
    /// Little-endian, C H W.
    #[serde(serialize_with = "base64")]
    data: Vec<u8>,
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
}

/// The name of an enumeration's value without what all of its values begin with, in small letters;
/// none for the unspecified one.
fn value(name: &str, prefix: &str) -> Option<String> {
    let name = name.strip_prefix(prefix)?;
    (name != "UNSPECIFIED").then(|| name.to_ascii_lowercase())
}

fn seconds(duration: Option<prost_types::Duration>) -> f64 {
    let duration = duration.unwrap_or_default();
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

impl From<proto::ScoreResponse> for Score {
    fn from(reply: proto::ScoreResponse) -> Self {
        Self {
            verdict: value(reply.verdict().as_str_name(), "VERDICT_"),
            model: reply.model.unwrap_or_default().into(),
            log_joint: reply.log_joint,
            log_prior: reply.log_prior,
            log_likelihood: reply.log_likelihood,
            log_joint_std: reply.log_joint_std,
            log_prior_std: reply.log_prior_std,
            log_likelihood_std: reply.log_likelihood_std,
            p_value: reply.p_value,
            local_score: reply.local_score,
            local_p_value: reply.local_p_value,
            prior_unnormalized: reply.prior_unnormalized,
            queue_time_s: seconds(reply.queue_time),
            compute_time_s: seconds(reply.compute_time),
        }
    }
}

impl From<proto::ExplainResponse> for Explanation {
    fn from(reply: proto::ExplainResponse) -> Self {
        Self {
            score: reply.score.unwrap_or_default().into(),
            reconstruction: reply.reconstruction.unwrap_or_default().into(),
            residual: reply.residual.unwrap_or_default().into(),
            chains: reply.chains.into_iter().map(Chain::from).collect(),
        }
    }
}

impl From<proto::SampleResponse> for Samples {
    fn from(reply: proto::SampleResponse) -> Self {
        Self {
            model: reply.model.unwrap_or_default().into(),
            images: reply.images.into_iter().map(Picture::from).collect(),
        }
    }
}

impl FromIterator<proto::Model> for Models {
    fn from_iter<T: IntoIterator<Item = proto::Model>>(models: T) -> Self {
        Self {
            models: models.into_iter().map(Model::from).collect(),
        }
    }
}

impl From<proto::Model> for Model {
    fn from(model: proto::Model) -> Self {
        let prior = value(model.prior().as_str_name(), "PRIOR_");
        let chain_start = value(model.chain_start().as_str_name(), "CHAIN_START_");
        let decision = value(model.decision().as_str_name(), "DECISION_");
        let ModelId { name, version } = model.id.unwrap_or_default().into();
        let image = model.image.unwrap_or_default();
        Self {
            name,
            version,
            image: ImageSpec {
                channels: image.channels,
                height: image.height,
                width: image.width,
            },
            latent_dim: model.latent_dim,
            generator: model.generator,
            prior,
            chain_start,
            inference: model.inference.unwrap_or_default().into(),
            decision,
            threshold_log_joint: model.threshold_log_joint,
            threshold_local_score: model.threshold_local_score,
            false_positive_rate: model.false_positive_rate,
            normal_classes: model.normal_classes,
        }
    }
}

impl From<proto::ModelId> for ModelId {
    fn from(id: proto::ModelId) -> Self {
        Self {
            name: id.name,
            version: id.version,
        }
    }
}

impl From<proto::InferenceParameters> for Inference {
    fn from(inference: proto::InferenceParameters) -> Self {
        Self {
            aggregation: value(inference.aggregation().as_str_name(), "AGGREGATION_"),
            steps: inference.steps,
            step_size: inference.step_size,
            noise_free_steps: inference.noise_free_steps,
            chains: inference.chains,
            seed: inference.seed,
        }
    }
}

impl From<proto::ChainScore> for Chain {
    fn from(chain: proto::ChainScore) -> Self {
        Self {
            log_joint: chain.log_joint,
            log_prior: chain.log_prior,
            log_likelihood: chain.log_likelihood,
        }
    }
}

impl From<proto::RenderedImage> for Picture {
    fn from(image: proto::RenderedImage) -> Self {
        Self {
            png: image.png,
            tensor: image.tensor.map(Tensor::from),
        }
    }
}

impl From<proto::Tensor> for Tensor {
    fn from(tensor: proto::Tensor) -> Self {
        Self {
            data_type: value(tensor.data_type().as_str_name(), "DATA_TYPE_"),
            shape: tensor.shape,
            data: tensor.data,
        }
    }
}
