//! What the RPCs share: from a request's fields to what its chains ended with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lfbm_bundle::manifest::Langevin;
use lfbm_model::pixels;
use tokio::sync::watch;
use tonic::Request;
use tracing::{Instrument, Span};

use super::ServiceError;
use super::held::{Held, Taken};
use super::layer::AnsweringModel;
use crate::admission::{Admission, Priority};
use crate::memory::{ImageMemory, Memory, Reservation};
use crate::models::{Model, Models};
use crate::proto;
use crate::scheduler::{Inferred, Job, SchedulerError};
use crate::telemetry::Metrics;
use crate::wire::{self, Limits, Violation};

/// With more pixels or bytes, decoding and encoding are not for the threads that serve connections.
const IN_PLACE_PIXELS: usize = 128 * 128;

/// What a value of an image takes in a reply: as the model makes it, as an intensity, in a tensor and in
/// a file.
const REPLY_VALUE_BYTES: usize = 16;

/// What is left of a caller's time for the way back, so that it gets DEADLINE_EXCEEDED from here.
const REPLY_TIME: Duration = Duration::from_millis(2);

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
    /// Counts what is refused.
    pub metrics: Metrics,
    /// True once the server stops.
    pub draining: watch::Receiver<bool>,
}

/// What a call says beside its message.
#[derive(Clone)]
pub(super) struct Call {
    deadline: Option<Instant>,
    answering: AnsweringModel,
    held: Held,
}

/// The inference that a message asks for.
pub(super) struct Query {
    pub(super) image: Option<proto::Image>,
    pub(super) mask: Option<proto::Tensor>,
    pub(super) inference: Option<proto::InferenceParameters>,
    /// A `lfbm.v1.Priority`.
    pub(super) priority: i32,
    /// The priority of a message that names none.
    pub(super) default_priority: Priority,
    /// Whether a request without a mask is wrong.
    pub(super) needs_mask: bool,
    /// A `lfbm.v1.ImageForm`, if g(z_K) is wanted.
    pub(super) form: Option<i32>,
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
    pub(super) form: proto::ImageForm,
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

impl Query {
    /// Bytes of its image and its mask.
    fn size(&self) -> usize {
        let image = self.image.as_ref().and_then(|image| image.content.as_ref());
        let image = match image {
            None => 0,
            Some(proto::image::Content::Encoded(file)) => file.len(),
            Some(proto::image::Content::Tensor(tensor)) => tensor.data.len(),
        };
        image.max(self.mask.as_ref().map_or(0, |mask| mask.data.len()))
    }
}

impl Call {
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, ServiceError> {
        let timeout = wire::timeout(request.metadata())?;
        let answering = request.extensions().get::<AnsweringModel>();
        let call = Self {
            deadline: None,
            answering: answering.cloned().unwrap_or_default(),
            held: request
                .extensions()
                .get::<Held>()
                .cloned()
                .unwrap_or_default(),
        };
        Ok(call.within(timeout))
    }

    /// What the stream's message that was read last holds of the server's memory.
    pub(super) fn take_held(&self) -> Option<Taken> {
        self.held.take()
    }

    /// When the answer is of no use any more.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// To be answered in so long, if that is sooner than before.
    pub(super) fn within(self, timeout: Option<Duration>) -> Self {
        let deadline = timeout.map(|timeout| Instant::now() + timeout.saturating_sub(REPLY_TIME));
        Self {
            deadline: self.deadline.into_iter().chain(deadline).min(),
            ..self
        }
    }
}

impl Core {
    /// Returns once the server stops.
    pub(super) async fn drain(&self) {
        // A sender that is gone means the same.
        let _ = self.draining.clone().wait_for(|draining| *draining).await;
    }

    /// The model that a message means.
    pub(super) fn model(
        &self,
        call: &Call,
        name: &str,
        version: u64,
    ) -> Result<Arc<Model>, ServiceError> {
        let model = self.models.get(name, version)?;
        call.answering.set(&model.manifest.name);
        Ok(model)
    }

    /// Decodes, admits, schedules; returns when the last chain of `model` ends.
    pub(super) async fn infer(
        &self,
        call: &Call,
        model: Arc<Model>,
        query: Query,
    ) -> Result<Outcome, ServiceError> {
        let manifest = &model.manifest;
        let spec = manifest.image;
        let parameters =
            wire::parameters(query.inference.as_ref(), &manifest.langevin, self.limits);
        let reconstruct = query.form.is_some();
        let form = wire::image_form(query.form.unwrap_or_default());
        let priority = wire::priority(query.priority, query.default_priority);
        let decoding = tracing::debug_span!("decode");
        let decode_bytes = wire::decode_bytes(query.image.as_ref(), &spec);
        let patient = matches!(priority, Ok(Priority::Bulk));
        let memory = self.memory.take_for_image(decode_bytes, patient);
        let mut memory = match call.deadline {
            None => memory.await?,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), memory)
                .await
                .map_err(|_| SchedulerError::DeadlineExceeded)??,
        };
        // A file may be far larger than the model's images.
        let size = spec.pixels().max(query.size());
        let decode = move || {
            let mask = match &query.mask {
                None if query.needs_mask => {
                    Err(Violation::new("mask", "expected a mask, got none"))
                }
                mask => wire::decode_mask(mask.as_ref(), &spec),
            };
            (wire::decode(query.image.as_ref(), &spec), mask)
        };
        let (decoded, mask) = compute(size, decode).instrument(decoding).await?;
        memory.decoded(size_of::<f32>() * spec.pixels());
        let (image, (langevin, seed), mask, priority, form) =
            match (decoded, parameters, mask, priority, form) {
                (Ok(image), Ok(parameters), Ok(mask), Ok(priority), Ok(form)) => {
                    (image, parameters, mask, priority, form)
                }
                (decoded, parameters, mask, priority, form) => {
                    let violations = decoded.err().into_iter();
                    let violations = violations.chain(parameters.err().into_iter().flatten());
                    let violations = violations.chain(mask.err()).chain(priority.err());
                    return Err(ServiceError::Invalid(
                        violations.chain(form.err()).collect(),
                    ));
                }
            };
        let mut kept = Vec::new();
        if reconstruct {
            kept.clone_from(&image);
            if let Some(mask) = &mask {
                pixels::hide(&mut kept, mask);
            }
        }
        // A reconstruction of every chain, and what the reply makes of it.
        let images = if reconstruct {
            langevin.chains as usize + 1
        } else {
            0
        };
        let reply_memory = self
            .memory
            .take(images.saturating_mul(REPLY_VALUE_BYTES * spec.pixels()))?;
        let estimate = model.scheduler.estimate(priority, &langevin);
        let permit = self
            .admission
            .admit(priority, langevin.chains, estimate, call.deadline)?;
        let job = Job {
            image,
            mask: mask.clone(),
            langevin,
            seed,
            priority,
            deadline: call.deadline,
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
            form,
            model,
            _memory: (memory, reply_memory),
        })
    }
}

/// Counts a request among those of its model when it ends.
pub(super) async fn counted<T>(
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
pub(super) async fn compute<T: Send + 'static>(
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
