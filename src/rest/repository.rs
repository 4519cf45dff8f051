//! `/v2/repository`: which models there are, and loading and unloading them.

use axum::body::Body;
use axum::http::Response;
use axum::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::detector::{Asking, is_json, json};
use super::error::RestError;
use super::json::wrong;
use super::route::Operation;
use crate::request::Violation;
use crate::service::control::{Change, Wanted};
use crate::service::open_inference::models;
use crate::service::{ControlError, ServiceError};

/// A request names a few things only.
const MAX_BODY_BYTES: usize = 64 << 10;
/// A byte of JSON is a value at most, which takes so many bytes.
const VALUE_BYTES: usize = size_of::<Value>();

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with ready, or nothing")]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "an object with parameters, or nothing"
)]
struct ChangeRequest {
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// A model of the index.
#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    state: &'a str,
    reason: &'a str,
}

/// Answers a request of `/v2/repository`.
pub(super) async fn answer(
    asking: Asking<'_>,
    body: &mut Body,
) -> Result<Response<Body>, RestError> {
    let core = asking.core;
    let change = match asking.route.operation {
        Operation::RepositoryModelLoad => Change::Load,
        Operation::RepositoryModelUnload => Change::Unload,
        _ => {
            let IndexRequest { ready } = read(&asking, body).await?;
            let catalog = core.models.catalog();
            let index = models::index(&catalog, core.phases.is_serving(), ready);
            let entries = index.models.iter().map(|model| Entry {
                name: &model.name,
                version: &model.version,
                state: &model.state,
                reason: &model.reason,
            });
            return Ok(json(&entries.collect::<Vec<_>>()));
        }
    };
    if core.control.is_none() {
        return Err(ServiceError::from(ControlError::Off).into());
    }
    let ChangeRequest { parameters } = read(&asking, body).await?;
    let parameters = parameters.into_iter();
    let parameters = parameters.map(|(name, value)| (name, value.is_boolean()));
    let wanted = Wanted {
        change,
        model: asking.route.model,
        parameters: parameters.collect(),
    };
    core.change(&asking.call, wanted).await?;
    Ok(Response::new(Body::empty()))
}

/// Reads JSON, or nothing for what is the default.
async fn read<T: Default + DeserializeOwned>(
    asking: &Asking<'_>,
    body: &mut Body,
) -> Result<T, RestError> {
    // What forms of pages can send is refused; clients of Triton name no type.
    if asking.headers.contains_key(CONTENT_TYPE) && !is_json(asking.headers) {
        let expected = "expected application/json, got another type";
        return Err(Violation::new("content-type", expected).into());
    }
    let deadline = asking.call.deadline();
    let mut received = asking.limits.read(asking.headers, body, deadline).await?;
    let length = received.bytes.len();
    if length > MAX_BODY_BYTES {
        let reason = format!("expected at most {MAX_BODY_BYTES} bytes, got {length}");
        return Err(ServiceError::TooLong(reason).into());
    }
    if length == 0 {
        return Ok(T::default());
    }
    received.pay(VALUE_BYTES * length)?;
    serde_json::from_slice(&received.bytes).map_err(|error| wrong("body", &error).into())
}
