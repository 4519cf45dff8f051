use std::sync::Arc;
use std::time::{Duration, Instant};

use tonic::{Code, Request, Response, Status};

use super::error::ServiceError;
use super::messages;
use crate::admission::{Admission, Priority};
use crate::models::{Model, Models};
use crate::proto;
use crate::proto::anomaly_detector_server::AnomalyDetector;
use crate::scheduler::Job;
use crate::score::{judge, score};
use crate::telemetry::Metrics;
use crate::wire::{self, Limits};

/// Images with more pixels are decoded outside the threads that serve connections.
const DECODED_IN_PLACE_PIXELS: usize = 128 * 128;

/// What is left of a caller's time for the way back, so that it gets DEADLINE_EXCEEDED from here.
const REPLY_TIME: Duration = Duration::from_millis(2);

/// `lfbm.v1.AnomalyDetector`.
pub struct AnomalyDetectorService {
    models: Arc<Models>,
    admission: Admission,
    limits: Limits,
    metrics: Metrics,
}

impl AnomalyDetectorService {
    /// Serves `models` within the limits.
    pub fn new(
        models: Arc<Models>,
        admission: Admission,
        limits: Limits,
        metrics: Metrics,
    ) -> Self {
        Self {
            models,
            admission,
            limits,
            metrics,
        }
    }

    async fn infer(
        &self,
        request: Request<proto::ScoreRequest>,
        observed: &mut Observed<'_>,
    ) -> Result<proto::ScoreResponse, ServiceError> {
        let timeout = wire::timeout(request.metadata())?;
        let deadline = timeout.map(|timeout| Instant::now() + timeout.saturating_sub(REPLY_TIME));
        let request = request.into_inner();
        let model = self.models.get(&request.model, request.version)?;
        observed.model = Some(Arc::clone(&model));
        let manifest = &model.manifest;
        let defaults = &manifest.langevin;
        let spec = manifest.image;
        let parameters = wire::parameters(request.inference.as_ref(), defaults, self.limits);
        let mask = wire::decode_mask(request.mask.as_ref(), &spec);
        let priority = wire::priority(request.priority, Priority::Interactive);
        let decoded = if spec.pixels() <= DECODED_IN_PLACE_PIXELS {
            wire::decode(request.image.as_ref(), &spec)
        } else {
            tokio::task::spawn_blocking(move || wire::decode(request.image.as_ref(), &spec))
                .await
                .map_err(|_| ServiceError::Decoder)?
        };
        let (image, (langevin, seed), mask, priority) = match (decoded, parameters, mask, priority)
        {
            (Ok(image), Ok(parameters), Ok(mask), Ok(priority)) => {
                (image, parameters, mask, priority)
            }
            (decoded, parameters, mask, priority) => {
                let violations = decoded.err().into_iter();
                let violations = violations.chain(parameters.err().into_iter().flatten());
                let violations = violations.chain(mask.err()).chain(priority.err());
                return Err(ServiceError::Invalid(violations.collect()));
            }
        };
        let whole = mask.is_none();
        let estimate = model.scheduler.estimate(priority, &langevin);
        let permit = self
            .admission
            .admit(priority, langevin.chains, estimate, deadline)?;
        let job = Job {
            image,
            mask,
            langevin,
            seed,
            priority,
            deadline,
            reconstruct: false,
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
        let score = score(&inferred.chains, langevin.aggregation)?;
        let judgement = (whole && langevin == *defaults)
            .then(|| judge(score.log_joint, manifest, &model.calibration));
        if let Some(judgement) = judgement {
            metrics.observe_score(score.log_joint, judgement.p_value, judgement.anomalous);
        }
        Ok(messages::score_response(
            &score, judgement, &inferred, manifest,
        ))
    }

    /// Turns an error into a status; logs what is the server's fault.
    fn refuse(&self, method: &'static str, error: ServiceError) -> Status {
        match error.refusal() {
            Some(reason) => {
                self.metrics.reject(reason);
                tracing::debug!(method, %error, "request refused");
            }
            None if error.is_fault() => tracing::error!(method, %error, "request failed"),
            None => tracing::debug!(method, %error, "request has no answer"),
        }
        error.into()
    }
}

/// Counts a request when it ends, also when its client gives it up.
struct Observed<'a> {
    metrics: &'a Metrics,
    method: &'static str,
    /// Once it is known.
    model: Option<Arc<Model>>,
    started: Instant,
    code: Code,
}

impl<'a> Observed<'a> {
    fn start(metrics: &'a Metrics, method: &'static str) -> Self {
        Self {
            metrics,
            method,
            model: None,
            started: Instant::now(),
            code: Code::Cancelled,
        }
    }

    fn end<T>(mut self, result: Result<T, Status>) -> Result<Response<T>, Status> {
        self.code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
        result.map(Response::new)
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let model = self.model.as_ref().map_or("", |model| &model.manifest.name);
        self.metrics
            .observe_request(self.method, model, self.code, seconds);
    }
}

#[tonic::async_trait]
impl AnomalyDetector for AnomalyDetectorService {
    async fn score(
        &self,
        request: Request<proto::ScoreRequest>,
    ) -> Result<Response<proto::ScoreResponse>, Status> {
        let mut observed = Observed::start(&self.metrics, "Score");
        let result = self.infer(request, &mut observed).await;
        observed.end(result.map_err(|error| self.refuse("Score", error)))
    }

    async fn list_models(
        &self,
        _: Request<proto::ListModelsRequest>,
    ) -> Result<Response<proto::ListModelsResponse>, Status> {
        let observed = Observed::start(&self.metrics, "ListModels");
        let catalog = self.models.catalog();
        let models = catalog
            .iter()
            .map(|model| messages::model(&model.manifest))
            .collect();
        observed.end(Ok(proto::ListModelsResponse { models }))
    }

    async fn get_model(
        &self,
        request: Request<proto::GetModelRequest>,
    ) -> Result<Response<proto::GetModelResponse>, Status> {
        let mut observed = Observed::start(&self.metrics, "GetModel");
        let request = request.into_inner();
        let model = self.models.get(&request.model, request.version);
        observed.model = model.as_ref().ok().cloned();
        let result = model.map(|model| proto::GetModelResponse {
            model: Some(messages::model(&model.manifest)),
        });
        observed.end(result.map_err(|error| self.refuse("GetModel", error.into())))
    }
}
