//! What every protocol's adapter stands on: from a draft of a request to what its chains ended with.
//! Nothing here knows a protocol's messages.

use std::sync::Arc;
use std::time::Instant;

use lfbm_bundle::manifest::Langevin;
use lfbm_model::pixels;
use tracing::{Instrument, Span};

use super::ServiceError;
use super::call::Call;
use crate::admission::Admission;
use crate::memory::{ImageMemory, Memory, Reservation};
use crate::models::{Model, Models};
use crate::phase::Phases;
use crate::request::{Decoding, Draft, ImageForm, InferenceRequest, Limits, Priority, Violation};
use crate::scheduler::{Inferred, Job, SchedulerError};
use crate::telemetry::Metrics;

/// With more pixels or bytes, decoding and encoding are not for the threads that serve connections.
const IN_PLACE_PIXELS: usize = 128 * 128;

/// What a value of an image takes in a reply: as the model makes it, as an intensity, in a tensor and in
/// a file.
const REPLY_VALUE_BYTES: usize = 16;

/// What every service of the server stands on.
pub struct Core {
    /// The models that are served.
    pub models: Arc<Models>,
    /// Bounds the work in the server.
    pub admission: Admission,
    /// Bounds a request.
    pub limits: Limits,
    /// Bounds what requests hold.
    pub memory: Memory,
    /// The server's metrics.
    pub metrics: Metrics,
    /// Whether the server serves or stops.
    pub phases: Phases,
}

/// What inference ended with, and from what.
pub(super) struct Outcome {
    pub(super) model: Arc<Model>,
    pub(super) langevin: Langevin,
    /// Intensities, C H W, what the mask hides as black; kept if there are reconstructions to lay
    /// beside it, else empty.
    pub(super) image: Vec<f32>,
    /// H W, 1 where a pixel is visible; `None` where all are.
    pub(super) mask: Option<Vec<f32>>,
    pub(super) inferred: Inferred,
    /// The form that the request wants images in.
    pub(super) form: ImageForm,
    /// For the image, and for those of the reply.
    _memory: (ImageMemory, Reservation),
}

impl Outcome {
    /// C H W.
    pub(super) fn pixels(&self) -> usize {
        self.model.manifest.image.pixels()
    }

    /// Numbers of the chains, the one with the highest log-joint first.
    pub(super) fn best_first(&self) -> Vec<usize> {
        let log_joint = |chain: usize| self.inferred.chains[chain].log_joint();
        let mut order: Vec<_> = (0..self.inferred.chains.len()).collect();
        order.sort_by(|&a, &b| log_joint(b).total_cmp(&log_joint(a)));
        order
    }

    /// What a chain ended with as intensities, C H W; it must have been asked for.
    pub(super) fn reconstruction(&self, chain: usize) -> Vec<f32> {
        let x = &self.inferred.reconstructions[chain];
        pixels::from_x(x, &self.model.manifest.image, Some(&self.image))
    }
}

impl Core {
    /// The model that a message means.
    pub(crate) fn model(
        &self,
        call: &Call,
        name: &str,
        version: u64,
    ) -> Result<Arc<Model>, ServiceError> {
        let model = self.models.get(name, version)?;
        call.set_model(&model.manifest.name);
        Ok(model)
    }

    /// Validates, admits, schedules; returns when the last chain ends.
    pub(super) async fn infer(
        &self,
        call: &Call,
        model: Arc<Model>,
        draft: Draft,
    ) -> Result<Outcome, ServiceError> {
        let (request, memory) = self.validate(call, &model, draft).await?;
        self.run(call, model, request, memory).await
    }

    /// Takes memory for the image, decodes it and checks everything.
    async fn validate(
        &self,
        call: &Call,
        model: &Model,
        draft: Draft,
    ) -> Result<(InferenceRequest, ImageMemory), ServiceError> {
        let (spec, defaults) = (model.manifest.image, model.manifest.langevin);
        let decoding = tracing::debug_span!("decode");
        let Decoding { pixels, bytes } = draft.decoding(&spec, self.limits);
        let (message, largest) = (draft.size(), self.memory.largest());
        if bytes.saturating_add(message) > largest {
            let description = format!(
                "expected an image that is decoded in {largest} bytes of memory \
                 (--max-request-memory-bytes, less an eighth), got one of {pixels} pixels that takes \
                 up to {bytes} and its message {message}; make it smaller"
            );
            return Err(Violation::new("image", description).into());
        }
        let patient = draft.priority == Ok(Priority::Bulk);
        let memory = self.memory.take_for_image(bytes, patient);
        let mut memory = match call.deadline() {
            None => memory.await?,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), memory)
                .await
                .map_err(|_| SchedulerError::DeadlineExceeded)??,
        };
        // Either may be far larger than the model's images.
        let size = spec.pixels().max(message).max(pixels);
        let limits = self.limits;
        let validate = move || draft.validate(&spec, &defaults, limits);
        let request = compute(size, validate).instrument(decoding).await?;
        memory.decoded(size_of::<f32>() * spec.pixels());
        Ok((request.map_err(ServiceError::Invalid)?, memory))
    }

    async fn run(
        &self,
        call: &Call,
        model: Arc<Model>,
        request: InferenceRequest,
        memory: ImageMemory,
    ) -> Result<Outcome, ServiceError> {
        let InferenceRequest {
            image,
            mask,
            langevin,
            seed,
            priority,
            images,
        } = request;
        let reconstruct = images.is_some();
        let mut kept = Vec::new();
        if reconstruct {
            kept.clone_from(&image);
            if let Some(mask) = &mask {
                pixels::hide(&mut kept, mask);
            }
        }
        // A reconstruction of every chain, and what the reply makes of it.
        let reply_images = if reconstruct {
            langevin.chains as usize + 1
        } else {
            0
        };
        let image_bytes = REPLY_VALUE_BYTES * model.manifest.image.pixels();
        let reply_memory = self.memory.take(reply_images.saturating_mul(image_bytes))?;
        let estimate = model.scheduler.estimate(priority, &langevin);
        let permit = self
            .admission
            .admit(priority, langevin.chains, estimate, call.deadline())?;
        let job = Job {
            image,
            mask: mask.clone(),
            langevin,
            seed,
            priority,
            deadline: call.deadline(),
            expected: estimate.map(|now| now.expected()),
            reconstruct,
            permit,
        };
        let inferred = model.scheduler.infer(job).await?;
        let metrics = &model.metrics;
        metrics
            .queue_seconds
            .observe(inferred.queue_time.as_secs_f64());
        metrics
            .compute_seconds
            .observe(inferred.compute_time.as_secs_f64());
        Ok(Outcome {
            image: kept,
            mask,
            langevin,
            inferred,
            form: images.unwrap_or(ImageForm::Both),
            model,
            _memory: (memory, reply_memory),
        })
    }
}

/// Counts a request among those of its model when it ends.
pub(crate) async fn counted<T>(
    model: &Model,
    request: impl Future<Output = Result<T, ServiceError>>,
) -> Result<T, ServiceError> {
    let started = Instant::now();
    let result = request.await;
    model
        .metrics
        .observe_request(result.is_ok(), started.elapsed());
    result
}

/// Does work on so many pixels or bytes: here if it is short, else outside the threads that serve
/// connections.
pub(crate) async fn compute<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ServiceError> {
    if size <= IN_PLACE_PIXELS {
        return Ok(work());
    }
    let span = Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(work))
        .await
        .map_err(|_| ServiceError::Panicked)
}
