//! `inference.GRPCInferenceService`: the Open Inference Protocol, version 2, and what clients of
//! Triton ask besides.

pub(crate) mod infer;
pub(crate) mod models;
mod outputs;

use std::collections::HashMap;
use std::sync::Arc;

use lfbm_wire::inference as v2;
use tonic::{Request, Response, Status};
use v2::grpc_inference_service_server::GrpcInferenceService;
use v2::model_repository_parameter::ParameterChoice;

use super::ServiceError;
use super::call::Call;
use super::control::{Change, Wanted};
use super::core::{Core, counted};
use crate::models::Model;
use crate::request::Violation;
use crate::wire::open_inference as wire;

/// Extensions that the server has, by the protocol's names.
pub(crate) const EXTENSIONS: [&str; 5] = [
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
];

/// The models of a [`Core`], for clients of KServe and Triton.
pub struct OpenInferenceService {
    /// What every service stands on.
    pub core: Arc<Core>,
    /// Bytes of a message at most.
    pub max_message_bytes: usize,
}

impl OpenInferenceService {
    /// The model that a request names, and what else its call says.
    fn model<T>(
        &self,
        request: &Request<T>,
        name: &str,
        version: &str,
    ) -> Result<(Call, Arc<Model>), ServiceError> {
        let call = Call::new(request)?;
        let model = self.core.model(&call, name, wire::version(version)?)?;
        Ok((call, model))
    }

    async fn infer(
        &self,
        request: Request<v2::ModelInferRequest>,
    ) -> Result<v2::ModelInferResponse, ServiceError> {
        let message = request.get_ref();
        let (call, model) = self.model(&request, &message.model_name, &message.model_version)?;
        let inferred = infer::infer(
            &self.core,
            call,
            &model,
            request.into_inner(),
            self.max_message_bytes,
        );
        counted(&model, inferred).await
    }

    /// Loads or unloads a model.
    async fn change<T>(
        &self,
        call: Result<Call, ServiceError>,
        repository: &str,
        wanted: Wanted,
        done: T,
    ) -> Result<Response<T>, Status> {
        let changed = async {
            check_repository(repository)?;
            self.core.change(&call?, wanted).await
        };
        self.reply(changed.await.map(|()| done))
    }

    fn is_serving(&self) -> bool {
        self.core.phases.is_serving()
    }

    fn reply<T>(&self, result: Result<T, ServiceError>) -> Result<Response<T>, Status> {
        result
            .map(Response::new)
            .map_err(|error| error.into_status(&self.core.metrics))
    }
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
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<v2::ModelMetadataRequest>,
    ) -> Result<Response<v2::ModelMetadataResponse>, Status> {
        let v2::ModelMetadataRequest { name, version } = request.get_ref();
        let found = self.model(&request, name, version);
        self.reply(found.map(|(_, model)| models::metadata(&model, &self.core.models.catalog())))
    }

    async fn model_infer(
        &self,
        request: Request<v2::ModelInferRequest>,
    ) -> Result<Response<v2::ModelInferResponse>, Status> {
        self.reply(self.infer(request).await)
    }

    async fn repository_index(
        &self,
        request: Request<v2::RepositoryIndexRequest>,
    ) -> Result<Response<v2::RepositoryIndexResponse>, Status> {
        let request = request.into_inner();
        if let Err(violation) = check_repository(&request.repository_name) {
            return self.reply(Err(violation.into()));
        }
        let catalog = self.core.models.catalog();
        self.reply(Ok(models::index(
            &catalog,
            self.is_serving(),
            request.ready,
        )))
    }

    async fn repository_model_load(
        &self,
        request: Request<v2::RepositoryModelLoadRequest>,
    ) -> Result<Response<v2::RepositoryModelLoadResponse>, Status> {
        let call = Call::new(&request);
        let request = request.into_inner();
        let wanted = Wanted {
            change: Change::Load,
            model: request.model_name,
            parameters: names(request.parameters),
        };
        let done = v2::RepositoryModelLoadResponse {};
        self.change(call, &request.repository_name, wanted, done)
            .await
    }

    async fn repository_model_unload(
        &self,
        request: Request<v2::RepositoryModelUnloadRequest>,
    ) -> Result<Response<v2::RepositoryModelUnloadResponse>, Status> {
        let call = Call::new(&request);
        let request = request.into_inner();
        let wanted = Wanted {
            change: Change::Unload,
            model: request.model_name,
            parameters: names(request.parameters),
        };
        let done = v2::RepositoryModelUnloadResponse {};
        self.change(call, &request.repository_name, wanted, done)
            .await
    }

    async fn model_config(
        &self,
        request: Request<v2::ModelConfigRequest>,
    ) -> Result<Response<v2::ModelConfigResponse>, Status> {
        let v2::ModelConfigRequest { name, version } = request.get_ref();
        let found = self.model(&request, name, version);
        self.reply(found.map(|(_, model)| v2::ModelConfigResponse {
            config: Some(models::config(&model, self.max_message_bytes)),
        }))
    }

    async fn model_statistics(
        &self,
        request: Request<v2::ModelStatisticsRequest>,
    ) -> Result<Response<v2::ModelStatisticsResponse>, Status> {
        let request = request.into_inner();
        let version = wire::version(&request.version).map_err(ServiceError::from);
        let statistics = version.and_then(|version| {
            let catalog = self.core.models.catalog();
            Ok(models::statistics(&catalog, &request.name, version)?)
        });
        self.reply(statistics)
    }
}

/// Whether the repository is the server's one.
fn check_repository(name: &str) -> Result<(), Violation> {
    if name.is_empty() {
        return Ok(());
    }
    let expected = "expected nothing: the server has one repository, without a name";
    Err(Violation::new("repository_name", expected))
}

/// Names of parameters, and whether each has a bool.
fn names(parameters: HashMap<String, v2::ModelRepositoryParameter>) -> Vec<(String, bool)> {
    let parameters = parameters.into_iter();
    let is_bool = |parameter: &v2::ModelRepositoryParameter| {
        matches!(
            parameter.parameter_choice,
            Some(ParameterChoice::BoolParam(_))
        )
    };
    parameters
        .map(|(name, parameter)| (name, is_bool(&parameter)))
        .collect()
}
