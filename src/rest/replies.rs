//! Replies as JSON: those of `lfbm.v1`, with the same numbers. What is absent is null.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use lfbm_wire::{self as proto, short_name};
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
    site_score: Option<f64>,
    site_p_value: Option<f64>,
    false_alarm_rate: Option<f64>,
    /// `pixels`, `orientations`, `network`, `hog`, `contrastive` or `hog_contrastive`.
    representation: Option<String>,
    map_threshold: Option<f64>,
    /// The one with the highest peak first.
    regions: Vec<Region>,
    map: Option<AnomalyMap>,
    prior_unnormalized: bool,
    queue_time_s: f64,
    compute_time_s: f64,
}

/// Neighbouring sites above the threshold of the map, in pixels of the image as it was sent.
#[derive(Debug, Serialize)]
struct Region {
    bounds: Rectangle,
    area: f64,
    peak: f64,
    peak_p_value: f64,
    peak_at: Point,
}

/// In pixels from the image's left upper corner.
#[derive(Debug, Default, Serialize)]
struct Rectangle {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

#[derive(Debug, Default, Serialize)]
struct Point {
    x: f64,
    y: f64,
}

#[derive(Debug, Serialize)]
struct AnomalyMap {
    rows: u32,
    columns: u32,
    /// Row by row.
    values: Vec<f32>,
    threshold: f64,
    /// What the grid covers of the image.
    bounds: Rectangle,
}

#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    score: Score,
    /// Of a model of sites without a decoder null, as is the residual.
    reconstruction: Option<Picture>,
    residual: Option<Picture>,
    /// A PNG file of the image under the map or the residual; absent where only tensors were asked for.
    #[serde(serialize_with = "base64", skip_serializing_if = "Vec::is_empty")]
    overlay: Vec<u8>,
    chains: Vec<Chain>,
    /// None where the model has no names of normal images.
    nearest_normals: Vec<NearestNormal>,
}

/// A normal image that the model remembers.
#[derive(Debug, Serialize)]
struct NearestNormal {
    file: String,
    /// `site`, `pixels` or `edges`.
    by: Option<String>,
    distance: f64,
    /// Where the site is; of a whole image null.
    at: Option<Point>,
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
    threshold_site_score: Option<f64>,
    map_threshold: Option<f64>,
    false_positive_rate: f64,
    /// How many scores of normal images the thresholds are told of.
    ranked_images: u32,
    smallest_false_alarm_rate: f64,
    representation: Option<Representation>,
    normal_classes: Vec<String>,
}

/// What x is made of.
#[derive(Debug, Serialize)]
struct Representation {
    kind: Option<String>,
    rows: u32,
    columns: u32,
    values: u64,
    network: Option<Network>,
}

#[derive(Debug, Serialize)]
struct Network {
    name: String,
    licence: String,
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

fn seconds(duration: Option<prost_types::Duration>) -> f64 {
    let duration = duration.unwrap_or_default();
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

impl From<proto::ScoreResponse> for Score {
    fn from(reply: proto::ScoreResponse) -> Self {
        Self {
            verdict: short_name(reply.verdict().as_str_name(), "VERDICT_"),
            representation: kind(reply.representation()),
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
            site_score: reply.site_score,
            site_p_value: reply.site_p_value,
            false_alarm_rate: reply.false_alarm_rate,
            map_threshold: reply.map_threshold,
            regions: reply.regions.into_iter().map(Region::from).collect(),
            map: reply.map.map(AnomalyMap::from),
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
            reconstruction: reply.reconstruction.map(Picture::from),
            residual: reply.residual.map(Picture::from),
            overlay: reply.overlay,
            chains: reply.chains.into_iter().map(Chain::from).collect(),
            nearest_normals: (reply.nearest_normals.into_iter())
                .map(NearestNormal::from)
                .collect(),
        }
    }
}

impl From<proto::NearestNormal> for NearestNormal {
    fn from(nearest: proto::NearestNormal) -> Self {
        Self {
            by: short_name(nearest.by().as_str_name(), "NEAREST_BY_"),
            file: nearest.file,
            distance: nearest.distance,
            at: nearest.at.map(Point::from),
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
        let prior = short_name(model.prior().as_str_name(), "PRIOR_");
        let chain_start = short_name(model.chain_start().as_str_name(), "CHAIN_START_");
        let decision = short_name(model.decision().as_str_name(), "DECISION_");
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
            threshold_site_score: model.threshold_site_score,
            map_threshold: model.map_threshold,
            false_positive_rate: model.false_positive_rate,
            ranked_images: model.ranked_images,
            smallest_false_alarm_rate: model.smallest_false_alarm_rate,
            representation: model.representation.map(Representation::from),
            normal_classes: model.normal_classes,
        }
    }
}

fn kind(kind: proto::RepresentationKind) -> Option<String> {
    short_name(kind.as_str_name(), "REPRESENTATION_KIND_")
}

impl From<proto::Representation> for Representation {
    fn from(representation: proto::Representation) -> Self {
        Self {
            kind: kind(representation.kind()),
            rows: representation.rows,
            columns: representation.columns,
            values: representation.values,
            network: representation.network.map(|network| Network {
                name: network.name,
                licence: network.licence,
            }),
        }
    }
}

impl From<proto::Region> for Region {
    fn from(region: proto::Region) -> Self {
        Self {
            bounds: region.bounds.map(Rectangle::from).unwrap_or_default(),
            area: region.area,
            peak: region.peak,
            peak_p_value: region.peak_p_value,
            peak_at: region.peak_at.map(Point::from).unwrap_or_default(),
        }
    }
}

impl From<proto::Point> for Point {
    fn from(point: proto::Point) -> Self {
        Self {
            x: point.x,
            y: point.y,
        }
    }
}

impl From<proto::Rectangle> for Rectangle {
    fn from(rectangle: proto::Rectangle) -> Self {
        Self {
            x: rectangle.x,
            y: rectangle.y,
            width: rectangle.width,
            height: rectangle.height,
        }
    }
}

impl From<proto::AnomalyMap> for AnomalyMap {
    fn from(map: proto::AnomalyMap) -> Self {
        Self {
            rows: map.rows,
            columns: map.columns,
            values: map.values,
            threshold: map.threshold,
            bounds: map.bounds.map(Rectangle::from).unwrap_or_default(),
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
            aggregation: short_name(inference.aggregation().as_str_name(), "AGGREGATION_"),
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
            data_type: short_name(tensor.data_type().as_str_name(), "DATA_TYPE_"),
            shape: tensor.shape,
            data: tensor.data,
        }
    }
}
