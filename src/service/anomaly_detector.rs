use std::sync::Arc;

use lfbm_wire as proto;
use proto::anomaly_detector_server::AnomalyDetector;
use tonic::{Request, Response, Status, Streaming};

use super::ServiceError;
use super::call::Call;
use super::core::Core;
use super::{explain, inpaint, messages, sample, score, score_stream};
use crate::request::Priority;

/// `lfbm.v1.AnomalyDetector`: an RPC a file, called from here.
pub struct AnomalyDetectorService(pub Arc<Core>);

impl AnomalyDetectorService {
    fn reply<T>(&self, result: Result<T, ServiceError>) -> Result<Response<T>, Status> {
        result
            .map(Response::new)
            .map_err(|error| error.into_status(&self.0.metrics))
    }
}

#[tonic::async_trait]
impl AnomalyDetector for AnomalyDetectorService {
    async fn score(
        &self,
        request: Request<proto::ScoreRequest>,
    ) -> Result<Response<proto::ScoreResponse>, Status> {
        let answer = async {
            let call = Call::new(&request)?;
            score::score(&self.0, &call, request.into_inner(), Priority::Interactive).await
        };
        self.reply(answer.await)
    }

    type ScoreStreamStream = score_stream::Replies;

    async fn score_stream(
        &self,
        request: Request<Streaming<proto::ScoreStreamRequest>>,
    ) -> Result<Response<score_stream::Replies>, Status> {
        let replies = Call::new(&request).map(|call| {
            score_stream::score_stream(Arc::clone(&self.0), call, request.into_inner())
        });
        self.reply(replies)
    }

    async fn explain(
        &self,
        request: Request<proto::ExplainRequest>,
    ) -> Result<Response<proto::ExplainResponse>, Status> {
        let answer = async {
            let call = Call::new(&request)?;
            explain::explain(&self.0, &call, request.into_inner()).await
        };
        self.reply(answer.await)
    }

    async fn inpaint(
        &self,
        request: Request<proto::InpaintRequest>,
    ) -> Result<Response<proto::InpaintResponse>, Status> {
        let answer = async {
            let call = Call::new(&request)?;
            inpaint::inpaint(&self.0, &call, request.into_inner()).await
        };
        self.reply(answer.await)
    }

    async fn sample(
        &self,
        request: Request<proto::SampleRequest>,
    ) -> Result<Response<proto::SampleResponse>, Status> {
        let answer = async {
            let call = Call::new(&request)?;
            sample::sample(&self.0, &call, request.into_inner()).await
        };
        self.reply(answer.await)
    }

    async fn list_models(
        &self,
        _: Request<proto::ListModelsRequest>,
    ) -> Result<Response<proto::ListModelsResponse>, Status> {
        let catalog = self.0.models.catalog();
        let models = catalog.iter().map(|model| messages::model(model)).collect();
        self.reply(Ok(proto::ListModelsResponse { models }))
    }

    async fn get_model(
        &self,
        request: Request<proto::GetModelRequest>,
    ) -> Result<Response<proto::GetModelResponse>, Status> {
        let answer = Call::new(&request).and_then(|call| {
            let request = request.into_inner();
            self.0.model(&call, &request.model, request.version)
        });
        self.reply(answer.map(|model| proto::GetModelResponse {
            model: Some(messages::model(&model)),
        }))
    }
}
