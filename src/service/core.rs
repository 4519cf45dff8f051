//! What every protocol's adapter stands on: from a draft of a request to what its chains ended with.
//! Nothing here knows a protocol's messages.

use std::sync::Arc;
use std::time::Instant;

use lfbm_bundle::manifest::{CalibrationSummary, Langevin};
use lfbm_images::Placement;
use lfbm_model::pixels;
use tracing::{Instrument, Span};

use super::call::Call;
use super::control::{Control, Wanted};
use super::{ControlError, ServiceError};
use crate::admission::Admission;
use crate::audit::AuditLog;
use crate::memory::{ImageMemory, Memory, Reservation};
use crate::models::{Model, Models};
use crate::phase::Phases;
use crate::request::{
    Decoding, Draft, ImageForm, InferenceRequest, Judging, Limits, Priority, Violation,
};
use crate::scheduler::{Inferred, Job, SchedulerError};
use crate::shadow::Shadows;
use crate::telemetry::Metrics;

/// Larger images are decoded and encoded on the pool for blocking work, not on the threads that serve
/// connections.
const IN_PLACE_PIXELS: usize = 128 * 128;

/// What a value of an image takes in a reply: as the model makes it, as an intensity, in a tensor and in
/// a file.
const REPLY_VALUE_BYTES: usize = 16;

/// What a chain's score takes beside its latent.
const CHAIN_BYTES: usize = 128;
/// The x of a site: as it was read, in the answer, and centred for the comparison.
const X_COPIES: usize = 3;

/// What every service of the server stands on.
pub struct Core {
    /// The models that are served.
    pub models: Arc<Models>,
    /// Bounds the work of all models together; `None` leaves each to its own bound.
    pub admission: Option<Admission>,
    /// Bounds a request.
    pub limits: Limits,
    /// Bounds what requests hold.
    pub memory: Memory,
    /// The server's metrics.
    pub metrics: Metrics,
    /// Whether the server serves or stops.
    pub phases: Phases,
    /// Has a line for every image that was to be scored.
    pub audit: Option<AuditLog>,
    /// Picks images for shadow versions, where there are any.
    pub shadows: Option<Shadows>,
    /// Loads and unloads models on request, where an admin may.
    pub control: Option<Control>,
}

/// What inference ended with, and from what.
pub(super) struct Outcome {
    pub(super) model: Arc<Model>,
    pub(super) langevin: Langevin,
    /// Intensities, C H W, what the mask hides as black; kept if the reply has images, else empty.
    pub(super) image: Vec<f32>,
    /// H W, 1 where a pixel is visible; `None` where all are.
    pub(super) mask: Option<Vec<f32>>,
    pub(super) inferred: Inferred,
    /// Where the pixels of the image as it came lie in it.
    pub(super) placement: Placement,
    /// The form that the request wants images in.
    pub(super) form: ImageForm,
    /// What the request wants of the comparison with normal images.
    pub(super) judging: Judging,
    /// Thresholds for the request's own false-alarm rate.
    thresholds: Option<CalibrationSummary>,
    /// For the image, and for those of the reply.
    _memory: (ImageMemory, Reservation),
}

impl Outcome {
    /// Multiplications that its score and a reply take, about: for the pixels, for the distance of every
    /// site to all those of the memory bank, or for the decoder.
    pub(super) fn work(&self) -> usize {
        let pixels = self.model.manifest.image.pixels();
        let distances = self.model.calibration.sites().map_or(0, |sites| {
            let bank = sites.bank();
            let sites = self.model.manifest.sites();
            sites
                .saturating_mul(bank.len())
                .saturating_mul(bank.values())
        });
        // The last layer of a decoder has 512 weights for each value.
        let decoded = self.model.decoder.as_ref().map_or(0, |_| 512 * pixels);
        pixels.max(distances).max(decoded)
    }

    /// The thresholds of the verdict and the map.
    pub(super) fn thresholds(&self) -> &CalibrationSummary {
        self.thresholds.as_ref().unwrap_or(&self.model.thresholds)
    }

    /// Numbers of the chains, the one with the highest log-joint first.
    pub(super) fn best_first(&self) -> Vec<usize> {
        let log_joint = |chain: usize| self.inferred.chains[chain].log_joint();
        let mut order: Vec<_> = (0..self.inferred.chains.len()).collect();
        order.sort_by(|&a, &b| log_joint(b).total_cmp(&log_joint(a)));
        order
    }

    /// What the model makes of a chain's end as intensities, C H W: by its generator, where x are pixels, for which
    /// reconstructions must have been asked; else by its decoder.
    ///
    /// # Errors
    /// When the decoder's run fails.
    pub(super) fn reconstruction(&self, chain: usize) -> Result<Vec<f32>, ServiceError> {
        let decoded = self.model.decode(&self.inferred.chains[chain].z);
        let decoded = decoded.map_err(|error| SchedulerError::Runtime(Arc::new(error)))?;
        let x = (decoded.as_ref()).unwrap_or_else(|| &self.inferred.reconstructions[chain]);
        let spec = &self.model.manifest.image;
        Ok(pixels::from_x(x, spec, Some(&self.image)))
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

    /// Loads or unloads a model on request of an admin.
    pub(crate) async fn change(&self, call: &Call, wanted: Wanted) -> Result<(), ServiceError> {
        let control = self.control.as_ref().ok_or(ControlError::Off)?;
        control.change(call, wanted).await
    }

    /// Validates, admits, schedules; returns when the last chain ends.
    pub(super) async fn infer(
        &self,
        call: &Call,
        model: Arc<Model>,
        draft: Draft,
    ) -> Result<Outcome, ServiceError> {
        if draft.mask.is_some() || draft.needs_mask {
            model.needs_whole_images("a mask")?;
        }
        let judging = draft.judging;
        let thresholds = model.thresholds_at(judging.false_alarm_rate)?;
        let (request, memory) = self.validate(call, &model, draft).await?;
        let outcome = self.run(call, model, request, memory).await?;
        Ok(Outcome {
            judging,
            thresholds,
            ..outcome
        })
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
        let asked = draft.parameters.chains;
        let chains = asked.map_or(defaults.chains, |chains| chains.min(self.limits.chains));
        let held = site_bytes(model, chains).saturating_add(size_of::<f32>() * spec.pixels());
        let bytes = bytes.max(held);
        let holds = call.holds();
        let room = self.memory.check_fits(holds, bytes);
        room.map_err(|too_large| {
            let expected = "expected an image that fits the server's memory";
            let description = format!("{expected}, got one of {pixels} pixels, which {too_large}");
            Violation::new("image", description)
        })?;
        let form = draft.images.clone().ok().flatten();
        let reply = reply_bytes(model, form, chains);
        let room = (self.memory).check_fits(holds.saturating_add(held), reply);
        room.map_err(|too_large| {
            let expected = "expected a reply that fits the server's memory";
            let description = format!("{expected}, got one of {chains} chains, which {too_large}");
            Violation::new("inference.chains", description)
        })?;
        let patient = draft.priority == Ok(Priority::Bulk);
        let mut memory = call
            .in_time(self.memory.take_for_image(bytes, patient))
            .await??;
        // Each may be far larger than the model's images.
        let size = spec.pixels().max(draft.size()).max(pixels);
        let (sites, limits) = (model.manifest.sites(), self.limits);
        let validate = move || draft.validate(&spec, sites, &defaults, limits);
        let request = compute(size, validate).instrument(decoding).await?;
        memory.decoded(held);
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
            placement,
            mask,
            langevin,
            seed,
            priority,
            images,
        } = request;
        let reconstruct = images.is_some() && model.manifest.representation.is_whole_image();
        let mut kept = Vec::new();
        if images.is_some() {
            kept.clone_from(&image);
            if let Some(mask) = &mask {
                pixels::hide(&mut kept, mask);
            }
        }
        let reply_memory = (self.memory).take(reply_bytes(&model, images, langevin.chains))?;
        let sites = u32::try_from(model.manifest.sites()).unwrap_or(u32::MAX);
        let chains = langevin.chains.saturating_mul(sites);
        let estimate = || model.scheduler.estimate(priority, &langevin);
        let admission = self.admission.as_ref().unwrap_or(&model.admission);
        let admitted = admission.admit(priority, chains, estimate, call.deadline());
        let (permit, estimate) = call.in_time(admitted).await??;
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
        metrics.sites.inc_by(sites.into());
        metrics
            .queue_seconds
            .observe(inferred.queue_time.as_secs_f64());
        metrics
            .compute_seconds
            .observe(inferred.compute_time.as_secs_f64());
        Ok(Outcome {
            image: kept,
            placement,
            judging: Judging::default(),
            thresholds: None,
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

/// What the sites of an image take while its chains run and its map is made: x, the score and latent of
/// every chain, and what the comparison makes of them. 0 for whole images.
fn site_bytes(model: &Model, chains: u32) -> usize {
    let manifest = &model.manifest;
    if manifest.representation.is_whole_image() {
        return 0;
    }
    let of_chain = CHAIN_BYTES + size_of::<f32>() * manifest.latent_dim;
    let x = X_COPIES * size_of::<f32>() * manifest.representation.values;
    let of_site = of_chain
        .saturating_mul(chains as usize + 1)
        .saturating_add(x);
    manifest.sites().saturating_mul(of_site)
}

/// What the images of a reply take.
fn reply_bytes(model: &Model, form: Option<ImageForm>, chains: u32) -> usize {
    let manifest = &model.manifest;
    // The image and a picture of it, and a reconstruction of every chain and what the reply makes of it.
    let images = match form {
        None => 0,
        Some(_) if manifest.representation.is_whole_image() => chains as usize + 2,
        Some(_) => 2 + usize::from(model.decoder.is_some()),
    };
    images.saturating_mul(REPLY_VALUE_BYTES * manifest.image.pixels())
}

/// Does work of so many pixels, bytes or multiplications: here if it is short, else outside the threads
/// that serve connections.
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
