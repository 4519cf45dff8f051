//! The flags that say which model scores, and how.

use anyhow::Context;
use clap::{Args, ValueEnum};
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::{
    Aggregation, GetModelRequest, Image, InferenceParameters, Model, Priority, ScoreRequest,
};

use crate::connection::Connection;
use crate::status::failure;

/// Model and inference parameters of a request.
#[derive(Args)]
#[command(next_help_heading = "Inference")]
pub(crate) struct InferenceArgs {
    /// The model; may be left out when the server has one
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) model: String,
    /// The model's version; 0 is the highest
    #[arg(long, default_value_t = 0)]
    pub(crate) model_version: u64,
    /// Langevin steps
    #[arg(long)]
    steps: Option<u32>,
    /// Step size s
    #[arg(long)]
    step_size: Option<f32>,
    /// How many of the last steps are taken without noise
    #[arg(long)]
    noise_free_steps: Option<u32>,
    /// Chains an image
    #[arg(long)]
    chains: Option<u32>,
    /// How chains become one score
    #[arg(long, value_enum)]
    aggregation: Option<AggregationName>,
    /// Decides starts and noise
    #[arg(long)]
    seed: Option<u64>,
}

/// What a verdict is to hold for.
#[derive(Args)]
#[command(next_help_heading = "Inference")]
pub(crate) struct VerdictArgs {
    /// The share of normal images that the verdict, and the map, may call anomalous, above 0 and below 1;
    /// the server's or the model's own when absent
    #[arg(long, value_name = "SHARE")]
    pub(crate) false_alarm_rate: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum AggregationName {
    Mean,
    Max,
    LogMeanExp,
}

impl InferenceArgs {
    /// A request to score `image`.
    pub(crate) fn score_request(&self, image: Image, priority: Priority) -> ScoreRequest {
        ScoreRequest {
            model: self.model.clone(),
            version: self.model_version,
            image: Some(image),
            inference: Some(self.parameters()),
            priority: priority.into(),
            ..Default::default()
        }
    }

    /// The model's description.
    pub(crate) async fn get_model(
        &self,
        mut client: AnomalyDetectorClient<Connection>,
    ) -> anyhow::Result<Model> {
        let request = GetModelRequest {
            model: self.model.clone(),
            version: self.model_version,
        };
        let reply = client.get_model(request).await.map_err(failure)?;
        reply.into_inner().model.context("the reply has no model")
    }

    /// What the request says of inference.
    pub(crate) fn parameters(&self) -> InferenceParameters {
        let aggregation = match self.aggregation {
            None => Aggregation::Unspecified,
            Some(AggregationName::Mean) => Aggregation::Mean,
            Some(AggregationName::Max) => Aggregation::Max,
            Some(AggregationName::LogMeanExp) => Aggregation::LogMeanExp,
        };
        InferenceParameters {
            steps: self.steps,
            step_size: self.step_size,
            noise_free_steps: self.noise_free_steps,
            chains: self.chains,
            aggregation: aggregation.into(),
            seed: self.seed,
        }
    }
}
