//! `/v1`: what `lfbm.v1.AnomalyDetector` does, over HTTP.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderMap, Response};
use serde::Serialize;

use super::body::{BodyLimits, Received};
use super::error::RestError;
use super::json::JsonRequest;
use super::parameters::{Asked, Given, PARAMETERS};
use super::route::{Operation, Route};
use super::{open_inference, openapi, replies};
use crate::models::Model;
use crate::request::{Draft, Image, ImageForm, Limits, Parameters, Priority, Tensor, Violation};
use crate::service::{Call, Core, ServiceError, compute, explain, messages, sample, score};
use crate::wire;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PNG: HeaderValue = HeaderValue::from_static("image/png");

/// A request whose path is known.
pub(super) struct Asking<'a> {
    pub(super) core: &'a Core,
    pub(super) limits: &'a BodyLimits,
    pub(super) call: Call,
    pub(super) route: Route,
    pub(super) query: Option<&'a str>,
    pub(super) headers: &'a HeaderMap,
}

impl Asking<'_> {
    /// The model that the path names.
    pub(super) fn model(&self) -> Result<Arc<Model>, RestError> {
        let version = wire::open_inference::version(&self.route.version)?;
        Ok(self.core.model(&self.call, &self.route.model, version)?)
    }

    /// Answers the request.
    pub(super) async fn answer(self, body: &mut Body) -> Result<Response<Body>, RestError> {
        match self.route.operation {
            Operation::ListModels => {
                let catalog = self.core.models.catalog();
                let models = catalog.iter().map(|model| messages::model(model));
                Ok(json(&models.collect::<replies::Models>()))
            }
            Operation::GetModel => {
                let model = self.model()?;
                Ok(json(&replies::Model::from(messages::model(&model))))
            }
            Operation::Score => self.score(body).await,
            Operation::Explain => self.explain(body).await,
            Operation::Sample => self.sample(body).await,
            Operation::Description => Ok(of_type(JSON, openapi::DOCUMENT.as_bytes().to_vec())),
            _ => open_inference::answer(self, body).await,
        }
    }

    async fn score(self, body: &mut Body) -> Result<Response<Body>, RestError> {
        let model = self.model()?;
        let mut request = self.read(body).await?;
        let draft = request.draft(None);
        let reply = score::answer(self.core, &request.call, &model, draft).await?;
        Ok(json(&replies::Score::from(reply)))
    }

    async fn explain(self, body: &mut Body) -> Result<Response<Body>, RestError> {
        let model = self.model()?;
        let mut request = self.read(body).await?;
        let as_png = accepts_png(self.headers);
        let form = match as_png {
            true => ImageForm::Png,
            false => request.asked.form.unwrap_or(ImageForm::Both),
        };
        if as_png {
            check_picture(&model, &request.asked.inference, self.core.limits)?;
        }
        // An explanation has its map.
        request.asked.judging.map = true;
        let draft = request.draft(Some(form));
        let reply = explain::answer(self.core, &request.call, &model, draft).await?;
        if as_png {
            return Ok(of_type(PNG, reply.overlay));
        }
        Ok(json(&replies::Explanation::from(reply)))
    }

    async fn sample(self, body: &mut Body) -> Result<Response<Body>, RestError> {
        let model = self.model()?;
        let request = self.read(body).await?;
        let asked = sample::Asked {
            count: request.asked.count.unwrap_or(1),
            seed: request.asked.inference.seed.unwrap_or_default(),
            form: Ok(request.asked.form.unwrap_or(ImageForm::Both)),
        };
        let reply = sample::answer(self.core, &request.call, &model, asked).await?;
        Ok(json(&replies::Samples::from(reply)))
    }

    /// Reads the body and the parameters.
    async fn read(&self, body: &mut Body) -> Result<Read, RestError> {
        let operation = self.route.operation;
        let of_query = Given::of_query(self.query.unwrap_or_default())?;
        let deadline = self.call.deadline();
        let mut received = self.limits.read(self.headers, body, deadline).await?;
        let bytes = std::mem::take(&mut received.bytes);
        let message = if is_json(self.headers) {
            compute(bytes.len(), move || JsonRequest::read(&bytes)).await??
        } else if media_type(self.headers) == "multipart/form-data" {
            let expected = "expected the image's file and nothing else (curl --data-binary @FILE), or JSON with the \
                            content-type application/json, got a form";
            return Err(Violation::new("body", expected).into());
        } else if operation == Operation::Sample {
            if !bytes.is_empty() {
                let expected = "expected nothing, or JSON with the content-type application/json";
                return Err(Violation::new("body", expected).into());
            }
            JsonRequest::default()
        } else {
            JsonRequest {
                image: Some(Image::File(bytes.into())),
                ..JsonRequest::default()
            }
        };
        let JsonRequest {
            image,
            mask,
            parameters,
        } = message;
        let asked = of_query.and(parameters).read(operation);
        let asked = asked.map_err(ServiceError::Invalid)?;
        Ok(Read {
            call: (self.call.clone())
                .within(asked.timeout)
                .holding(received.memory.bytes()),
            image,
            mask,
            asked,
            _received: received,
        })
    }
}

/// A request that is read.
struct Read {
    call: Call,
    image: Option<Image>,
    mask: Option<Tensor>,
    asked: Asked,
    /// What it holds of the server's memory.
    _received: Received,
}

impl Read {
    /// The draft of inference; `images` is the form of the reply's images.
    fn draft(&mut self, images: Option<ImageForm>) -> Draft {
        Draft {
            image: self.image.take(),
            mask: self.mask.take(),
            needs_mask: false,
            parameters: std::mem::take(&mut self.asked.inference),
            priority: Ok(self.asked.priority.unwrap_or(Priority::Interactive)),
            images: Ok(images),
            judging: self.asked.judging,
        }
    }
}

/// Whether a body is JSON.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let media_type = media_type(headers);
    media_type == "application/json" || media_type.ends_with("+json")
}

/// What a body is said to be, without parameters.
fn media_type(headers: &HeaderMap) -> String {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type.unwrap_or_default().split(';').next();
    media_type.unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a client would rather have a picture than JSON (RFC 9110, 12.5.1).
fn accepts_png(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    let accepted = accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let accepted: Vec<_> = accepted.map(media_range).collect();
    // Its quality is what the range that fits most closely says; of two alike, the first is wanted.
    let wanted = |ranges: [&str; 3]| {
        let mut closest = ranges.iter();
        closest.find_map(|range| {
            let place = accepted
                .iter()
                .position(|(accepted, _)| accepted == range)?;
            Some((accepted[place].1, Reverse(place)))
        })
    };
    let png = wanted(["image/png", "image/*", "*/*"]);
    let json = wanted(["application/json", "application/*", "*/*"]);
    png.is_some_and(|(quality, _)| quality > 0.0) && png > json
}

/// Checks that there is a picture to show: of a model without a reconstruction it shows the map, which there is
/// for the model's own inference parameters only.
fn check_picture(model: &Model, asked: &Parameters, limits: Limits) -> Result<(), Violation> {
    let manifest = &model.manifest;
    let asked = asked.validate(manifest.sites(), &manifest.langevin, limits);
    // What is out of its range is named with all else that is wrong.
    let are_others = asked.is_ok_and(|(langevin, _)| langevin != manifest.langevin);
    if model.makes_pixels() || !are_others {
        return Ok(());
    }
    let expected = "expected the model's own for a picture of its map, its calibration holds for no others; ask for \
                    application/json, or leave out all but the seed";
    Err(Violation::new(PARAMETERS, expected))
}

/// A range of media types, and how much it is wanted, from 0 to 1.
fn media_range(text: &str) -> (String, f32) {
    let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
    let range = parts.next().unwrap_or_default();
    let mut quality = parts.filter_map(|part| part.strip_prefix("q=")?.trim().parse().ok());
    let quality = quality.find(|quality| (0.0..=1.0).contains(quality));
    (range, quality.unwrap_or(1.0))
}

/// A reply in JSON.
pub(super) fn json(reply: &impl Serialize) -> Response<Body> {
    // Texts and finite numbers can always be written.
    let mut body = serde_json::to_vec(reply).unwrap_or_default();
    body.push(b'\n');
    of_type(JSON, body)
}

pub(super) fn of_type(content_type: HeaderValue, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
