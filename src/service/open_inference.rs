//! `inference.GRPCInferenceService`: the Open Inference Protocol, version 2.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt, TryFutureExt, TryStreamExt, stream};
use tonic::{Request, Response, Status};

use super::ServiceError;
use super::core::{Call, Core};
use super::score::score;
use crate::admission::Priority;
use crate::proto::inference as v2;
use crate::proto::inference::InferParameter;
use crate::proto::inference::grpc_inference_service_server::GrpcInferenceService;
use crate::proto::inference::infer_parameter::ParameterChoice;
use crate::proto::{ScoreRequest, ScoreResponse, Verdict};
use crate::wire::{Violation, cut, id, open_inference as wire, parameters as inference_parameters};
use v2::model_infer_response::InferOutputTensor;
use v2::model_metadata_response::TensorMetadata;

/// What the protocol calls the thing that runs a model.
const PLATFORM: &str = "onnxruntime_onnx";

/// An output: its name, and what it says of a score.
struct Output {
    name: &'static str,
    /// Whether it is the calibration's, which holds for the model's own parameters only.
    calibrated: bool,
    value: Value,
}

enum Value {
    Fp64(fn(&ScoreResponse) -> f64),
    Bool(fn(&ScoreResponse) -> bool),
}

impl Value {
    fn datatype(&self) -> &'static str {
        match self {
            Self::Fp64(_) => "FP64",
            Self::Bool(_) => "BOOL",
        }
    }

    /// The values of `scores`, little-endian.
    fn bytes(&self, scores: &[ScoreResponse]) -> Vec<u8> {
        match self {
            Self::Fp64(of) => scores.iter().flat_map(|s| of(s).to_le_bytes()).collect(),
            Self::Bool(of) => scores.iter().map(|s| u8::from(of(s))).collect(),
        }
    }
}

const fn fp64(name: &'static str, of: fn(&ScoreResponse) -> f64) -> Output {
    Output {
        name,
        calibrated: false,
        value: Value::Fp64(of),
    }
}

const fn calibrated(name: &'static str, value: Value) -> Output {
    Output {
        name,
        calibrated: true,
        value,
    }
}

const OUTPUTS: [Output; 8] = [
    fp64("log_joint", |score| score.log_joint),
    fp64("log_prior", |score| score.log_prior),
    fp64("log_likelihood", |score| score.log_likelihood),
    fp64("log_joint_std", |score| score.log_joint_std),
    calibrated("p_value", Value::Fp64(ScoreResponse::p_value)),
    calibrated("local_score", Value::Fp64(ScoreResponse::local_score)),
    calibrated("local_p_value", Value::Fp64(ScoreResponse::local_p_value)),
    calibrated(
        "anomalous",
        Value::Bool(|score| score.verdict() == Verdict::Anomalous),
    ),
];

/// The models of a [`Core`], for clients of KServe and Triton.
pub struct OpenInferenceService {
    /// What every service stands on.
    pub core: Arc<Core>,
    /// False once the server was told to stop.
    pub serving: Arc<AtomicBool>,
}

impl OpenInferenceService {
    async fn infer(
        &self,
        request: Request<v2::ModelInferRequest>,
    ) -> Result<v2::ModelInferResponse, ServiceError> {
        let call = Call::of(&request)?;
        let request = request.into_inner();
        id(&request.id)?;
        let version = wire::version(&request.model_version)?;
        let model = self.core.model(&call, &request.model_name, version)?;
        let (core, manifest) = (&self.core, &model.manifest);
        let parameters = wire::infer_parameters(&request.parameters);
        let wire::Parameters {
            inference,
            priority,
            timeout,
        } = parameters.map_err(ServiceError::Invalid)?;
        let langevin = inference_parameters(Some(&inference), &manifest.langevin, core.limits);
        let (langevin, _) = langevin.map_err(|violations| {
            let of_parameters = |violation: Violation| {
                let name = violation.field.trim_start_matches("inference.");
                Violation::new(
                    wire::PARAMETERS,
                    format!("{name}: {}", violation.description),
                )
            };
            ServiceError::Invalid(violations.into_iter().map(of_parameters).collect())
        })?;
        let outputs = wanted(&request, langevin == manifest.langevin)?;
        let images = wire::images(&request, &manifest.image)?;
        let priority = priority.unwrap_or(match images.len() {
            1 => Priority::Interactive,
            _ => Priority::Bulk,
        });
        let count = images.len() as i64;
        let call = &call.within(timeout);
        let scores = images.into_iter().enumerate().map(|(index, image)| {
            let request = ScoreRequest {
                model: manifest.name.clone(),
                version: manifest.version,
                image: Some(image),
                inference: Some(inference),
                ..Default::default()
            };
            let scored = score(core, call, request, priority);
            scored.map_err(move |error| of_image(index, error))
        });
        let scores: Vec<ScoreResponse> = stream::iter(scores)
            .buffered(self.core.limits.stream_in_flight)
            .try_collect()
            .await?;
        let raw = outputs.iter().map(|output| output.value.bytes(&scores));
        Ok(v2::ModelInferResponse {
            model_name: manifest.name.clone(),
            model_version: manifest.version.to_string(),
            id: request.id,
            parameters: [(
                "prior_unnormalized".to_owned(),
                InferParameter {
                    parameter_choice: Some(ParameterChoice::BoolParam(
                        !manifest.prior.is_normalized(),
                    )),
                },
            )]
            .into(),
            raw_output_contents: raw.collect(),
            outputs: outputs
                .iter()
                .map(|output| InferOutputTensor {
                    name: output.name.to_owned(),
                    datatype: output.value.datatype().to_owned(),
                    shape: vec![count],
                    ..Default::default()
                })
                .collect(),
        })
    }

    fn metadata(
        &self,
        request: &Request<v2::ModelMetadataRequest>,
    ) -> Result<v2::ModelMetadataResponse, ServiceError> {
        let call = Call::of(request)?;
        let request = request.get_ref();
        let version = wire::version(&request.version)?;
        let model = self.core.model(&call, &request.name, version)?;
        let manifest = &model.manifest;
        let catalog = self.core.models.catalog();
        let versions = catalog
            .iter()
            .filter(|model| model.manifest.name == manifest.name)
            .map(|model| model.manifest.version.to_string());
        let tensor = |name: &str, datatype: &str, shape: &[usize]| TensorMetadata {
            name: name.to_owned(),
            datatype: datatype.to_owned(),
            shape: [-1]
                .into_iter()
                .chain(shape.iter().map(|&size| size as i64))
                .collect(),
        };
        let spec = &manifest.image;
        let outputs = OUTPUTS.iter();
        Ok(v2::ModelMetadataResponse {
            name: manifest.name.clone(),
            versions: versions.collect(),
            platform: PLATFORM.to_owned(),
            inputs: vec![tensor(
                wire::INPUT,
                "UINT8",
                &[spec.channels, spec.height, spec.width],
            )],
            outputs: outputs
                .map(|output| tensor(output.name, output.value.datatype(), &[]))
                .collect(),
        })
    }

    fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    fn reply<T>(&self, result: Result<T, ServiceError>) -> Result<Response<T>, Status> {
        result
            .map(Response::new)
            .map_err(|error| error.into_status(&self.core.metrics))
    }
}

/// An error that says which image it is of.
fn of_image(index: usize, error: ServiceError) -> ServiceError {
    match error {
        ServiceError::Invalid(violations) => {
            let of_image = |violation: Violation| {
                let description = format!("image {index}: {}", violation.description);
                Violation::new(wire::CONTENTS, description)
            };
            ServiceError::Invalid(violations.into_iter().map(of_image).collect())
        }
        other => other,
    }
}

/// The outputs that a request names; all that there are when it names none. What is not calibrated
/// has none of the calibration's: there is no value that could say so.
fn wanted(
    request: &v2::ModelInferRequest,
    calibrated: bool,
) -> Result<Vec<&'static Output>, Violation> {
    if request.outputs.is_empty() {
        let there = |output: &&Output| calibrated || !output.calibrated;
        return Ok(OUTPUTS.iter().filter(there).collect());
    }
    let wanted = request.outputs.iter().map(|asked| {
        let output = OUTPUTS.iter().find(|output| output.name == asked.name);
        let output = output.ok_or_else(|| {
            let names = OUTPUTS.each_ref().map(|output| output.name).join(", ");
            let got = cut(&asked.name);
            let description = format!("expected some of {names}, got {got:?}");
            Violation::new("outputs", description)
        })?;
        if output.calibrated && !calibrated {
            let description = format!(
                "{}: expected the model's own inference parameters, its calibration holds for no others",
                output.name
            );
            return Err(Violation::new("outputs", description));
        }
        Ok(output)
    });
    wanted.collect()
}

#[tonic::async_trait]
impl GrpcInferenceService for OpenInferenceService {
    async fn server_live(
        &self,
        _: Request<v2::ServerLiveRequest>,
    ) -> Result<Response<v2::ServerLiveResponse>, Status> {
        self.reply(Ok(v2::ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<v2::ServerReadyRequest>,
    ) -> Result<Response<v2::ServerReadyResponse>, Status> {
        let ready = self.is_serving() && !self.core.models.catalog().is_empty();
        self.reply(Ok(v2::ServerReadyResponse { ready }))
    }

    async fn model_ready(
        &self,
        request: Request<v2::ModelReadyRequest>,
    ) -> Result<Response<v2::ModelReadyResponse>, Status> {
        let request = request.into_inner();
        let version = wire::version(&request.version).map_err(ServiceError::from);
        self.reply(version.map(|version| v2::ModelReadyResponse {
            ready: self.is_serving() && self.core.models.get(&request.name, version).is_ok(),
        }))
    }

    async fn server_metadata(
        &self,
        _: Request<v2::ServerMetadataRequest>,
    ) -> Result<Response<v2::ServerMetadataResponse>, Status> {
        self.reply(Ok(v2::ServerMetadataResponse {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: Vec::new(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<v2::ModelMetadataRequest>,
    ) -> Result<Response<v2::ModelMetadataResponse>, Status> {
        self.reply(self.metadata(&request))
    }

    async fn model_infer(
        &self,
        request: Request<v2::ModelInferRequest>,
    ) -> Result<Response<v2::ModelInferResponse>, Status> {
        self.reply(self.infer(request).await)
    }
}
