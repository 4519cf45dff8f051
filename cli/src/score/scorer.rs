//! One attempt at a score: in a stream with others, or in a call of its own.

use std::time::Duration;

use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::{Image, Priority, ScoreRequest, ScoreResponse, Tensor};
use tonic::{Request, Response, Status};

use super::stream::ScoreStream;
use crate::connection::{Connection, WithoutDeadline};
use crate::inference::InferenceArgs;
use crate::status::timed_out;

/// Scores images with the same parameters.
pub(crate) struct Scorer<'a> {
    client: AnomalyDetectorClient<Connection>,
    /// `None` for one image.
    stream: Option<ScoreStream>,
    /// Of a call of its own.
    timeout: Duration,
    inference: &'a InferenceArgs,
    priority: Priority,
    map: bool,
    false_alarm_rate: Option<f64>,
}

impl<'a> Scorer<'a> {
    /// A scorer of `at_once` images at once, each of which may take `timeout`.
    pub(crate) fn new(
        client: AnomalyDetectorClient<Connection>,
        timeout: Duration,
        at_once: usize,
        inference: &'a InferenceArgs,
        priority: Priority,
    ) -> Self {
        let stream = (at_once > 1).then(|| ScoreStream::new(client.clone(), timeout));
        Self {
            client,
            stream,
            // Requests that shared the stream share one time limit here, too.
            timeout: timeout.saturating_mul(at_once.try_into().unwrap_or(u32::MAX)),
            inference,
            priority,
            map: false,
            false_alarm_rate: None,
        }
    }

    /// Asks for the maps of models of sites, too.
    pub(crate) fn with_map(self, map: bool) -> Self {
        Self { map, ..self }
    }

    /// Asks for verdicts at this rate.
    pub(crate) fn with_false_alarm_rate(self, false_alarm_rate: Option<f64>) -> Self {
        Self {
            false_alarm_rate,
            ..self
        }
    }

    /// A request to score an image.
    pub(crate) fn request(&self, image: Image, mask: Option<Tensor>) -> ScoreRequest {
        let request = self.inference.score_request(image, self.priority);
        ScoreRequest {
            mask,
            map: self.map,
            false_alarm_rate: self.false_alarm_rate,
            ..request
        }
    }

    /// The answer of the server.
    pub(crate) async fn attempt(&self, request: &ScoreRequest) -> Result<ScoreResponse, Status> {
        if let Some(stream) = &self.stream
            && let Some(answer) = stream.score(request.clone()).await
        {
            return answer;
        }
        let mut call = Request::new(request.clone());
        call.extensions_mut().insert(WithoutDeadline);
        let mut client = self.client.clone();
        let answer = tokio::time::timeout(self.timeout, client.score(call)).await;
        let answer = answer.unwrap_or_else(|_| Err(timed_out()));
        answer.map(Response::into_inner)
    }
}
