//! `/v2`: the Open Inference Protocol, version 2, with its extension for binary tensors.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use lfbm_wire::inference::ModelInferResponse;
use serde::Serialize;
use serde_json::{Value, json};

use super::detector::{Asking, json as in_json};
use super::error::RestError;
use super::infer_request::{InferRequest, memory};
use super::repository;
use super::route::Operation;
use crate::request::{Violation, cut};
use crate::service::open_inference::{EXTENSIONS, infer, models};
use crate::service::{compute, counted};
use crate::wire::open_inference as wire;

/// How many of a body's bytes are JSON; all of them if it is absent.
pub(super) const JSON_LENGTH: &str = "inference-header-content-length";
const BINARY: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// What HTTP has beside the extensions of gRPC.
const BINARY_EXTENSION: &str = "binary_tensor_data";

/// Answers a request of `/v2`.
pub(super) async fn answer(
    asking: Asking<'_>,
    body: &mut Body,
) -> Result<Response<Body>, RestError> {
    let core = asking.core;
    match asking.route.operation {
        Operation::ServerLive => Ok(in_json(&json!({ "live": true }))),
        Operation::ServerReady => {
            let ready = core.phases.is_serving() && !core.models.catalog().is_empty();
            Ok(readiness(&json!({ "ready": ready }), ready))
        }
        Operation::ModelReady => {
            let name = &asking.route.model;
            let version = wire::version(&asking.route.version)?;
            core.models.get(name, version)?;
            let ready = core.phases.is_serving();
            Ok(readiness(&json!({ "name": name, "ready": ready }), ready))
        }
        Operation::ModelMetadata => metadata(&asking),
        Operation::ModelInfer => score(asking, body).await,
        Operation::RepositoryIndex
        | Operation::RepositoryModelLoad
        | Operation::RepositoryModelUnload => repository::answer(asking, body).await,
        _ => {
            let extensions = [&EXTENSIONS[..], &[BINARY_EXTENSION]].concat();
            Ok(in_json(&json!({
                "name": env!("CARGO_PKG_NAME"),
                "version": env!("CARGO_PKG_VERSION"),
                "extensions": extensions,
            })))
        }
    }
}

fn readiness(reply: &Value, ready: bool) -> Response<Body> {
    let mut response = in_json(reply);
    if !ready {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

fn metadata(asking: &Asking<'_>) -> Result<Response<Body>, RestError> {
    let model = asking.model()?;
    let metadata = models::metadata(&model, &asking.core.models.catalog());
    let tensor = |tensor: &lfbm_wire::inference::model_metadata_response::TensorMetadata| json!({ "name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape });
    Ok(in_json(&json!({
        "name": metadata.name,
        "versions": metadata.versions,
        "platform": metadata.platform,
        "inputs": metadata.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "outputs": metadata.outputs.iter().map(tensor).collect::<Vec<_>>(),
    })))
}

async fn score(asking: Asking<'_>, body: &mut Body) -> Result<Response<Body>, RestError> {
    let model = asking.model()?;
    let deadline = asking.call.deadline();
    let mut received = asking.limits.read(asking.headers, body, deadline).await?;
    let bytes = std::mem::take(&mut received.bytes);
    let json_bytes = json_length(asking.headers)?.unwrap_or(bytes.len());
    let needed = memory(bytes.get(..json_bytes).unwrap_or_default());
    let largest = asking.core.memory.largest();
    if received.memory.bytes().saturating_add(needed) > largest {
        let reason = format!(
            "expected a request that is read in {largest} bytes of memory \
             (--max-request-memory-bytes, less an eighth); send the values behind the JSON, or fewer"
        );
        return Err(Violation::new(wire::CONTENTS, reason).into());
    }
    received.pay(needed)?;
    let read = move || InferRequest::read(bytes, json_bytes);
    let mut request = compute(received.memory.bytes(), read).await??;
    let message = std::mem::take(&mut request.message);
    let call = asking.call.holding(received.memory.bytes());
    let max_bytes = asking.limits.max_bytes;
    let inferred = infer::infer(asking.core, call, &model, message, max_bytes);
    Ok(respond(counted(&model, inferred).await?, &request))
}

fn json_length(headers: &HeaderMap) -> Result<Option<usize>, Violation> {
    let Some(value) = headers.get(JSON_LENGTH) else {
        return Ok(None);
    };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| {
        let got = String::from_utf8_lossy(value.as_bytes());
        let reason = format!("expected a number of bytes, got {:?}", cut(&got));
        Violation::new(JSON_LENGTH, reason)
    })
}

/// A reply to a request for inference.
#[derive(Serialize)]
struct Reply<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    parameters: Value,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [i64],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data {
    Numbers(Vec<f64>),
    Bools(Vec<bool>),
}

impl Data {
    /// Of values as they lie in memory.
    fn of(raw: &[u8], datatype: &str) -> Self {
        if datatype == "BOOL" {
            return Self::Bools(raw.iter().map(|byte| *byte != 0).collect());
        }
        let numbers = raw.as_chunks().0.iter();
        Self::Numbers(numbers.map(|number| f64::from_le_bytes(*number)).collect())
    }
}

fn respond(message: ModelInferResponse, request: &InferRequest) -> Response<Body> {
    let parameters = message.parameters.iter().map(|(name, parameter)| {
        use lfbm_wire::inference::infer_parameter::ParameterChoice::BoolParam;
        let value = match parameter.parameter_choice {
            Some(BoolParam(value)) => Value::Bool(value),
            _ => Value::Null,
        };
        (name.clone(), value)
    });
    let mut behind = Vec::new();
    let outputs = message.outputs.iter().zip(&message.raw_output_contents);
    let outputs = outputs.enumerate().map(|(index, (output, raw))| {
        let is_binary = request.is_binary(index);
        if is_binary {
            behind.extend_from_slice(raw);
        }
        Output {
            name: &output.name,
            datatype: &output.datatype,
            shape: &output.shape,
            parameters: is_binary.then(|| json!({ "binary_data_size": raw.len() })),
            data: (!is_binary).then(|| Data::of(raw, &output.datatype)),
        }
    });
    let reply = Reply {
        outputs: outputs.collect(),
        model_name: &message.model_name,
        model_version: &message.model_version,
        id: &message.id,
        parameters: Value::Object(parameters.collect()),
    };
    if behind.is_empty() {
        return in_json(&reply);
    }
    // Texts and finite numbers can always be written.
    let mut body = serde_json::to_vec(&reply).unwrap_or_default();
    let json_bytes = body.len();
    body.extend(behind);
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, BINARY);
    headers.insert(
        HeaderName::from_static(JSON_LENGTH),
        HeaderValue::from(json_bytes),
    );
    response
}
