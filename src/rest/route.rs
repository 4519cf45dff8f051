//! Which operation a path means.

use axum::http::Method;
use percent_encoding::percent_decode_str;

use crate::service::Need;

/// What a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    ListModels,
    GetModel,
    Score,
    Explain,
    Sample,
    ServerMetadata,
    ServerLive,
    ServerReady,
    ModelMetadata,
    ModelReady,
    ModelInfer,
    RepositoryIndex,
    RepositoryModelLoad,
    RepositoryModelUnload,
    Description,
}

impl Operation {
    /// The name by which metrics count it; that of its RPC.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ListModels => "ListModels",
            Self::GetModel => "GetModel",
            Self::Score => "Score",
            Self::Explain => "Explain",
            Self::Sample => "Sample",
            Self::ServerMetadata => "ServerMetadata",
            Self::ServerLive => "ServerLive",
            Self::ServerReady => "ServerReady",
            Self::ModelMetadata => "ModelMetadata",
            Self::ModelReady => "ModelReady",
            Self::ModelInfer => "ModelInfer",
            Self::RepositoryIndex => "RepositoryIndex",
            Self::RepositoryModelLoad => "RepositoryModelLoad",
            Self::RepositoryModelUnload => "RepositoryModelUnload",
            Self::Description => "OpenApi",
        }
    }

    /// Its method of HTTP.
    pub(super) fn method(self) -> Method {
        match self {
            Self::Score
            | Self::Explain
            | Self::Sample
            | Self::ModelInfer
            | Self::RepositoryIndex
            | Self::RepositoryModelLoad
            | Self::RepositoryModelUnload => Method::POST,
            _ => Method::GET,
        }
    }

    /// What a request for it needs: nothing if it tells health, or what the documentation tells.
    pub(super) fn need(self) -> Need {
        match self {
            Self::ServerLive | Self::ServerReady | Self::ModelReady | Self::Description => {
                Need::Nothing
            }
            Self::RepositoryModelLoad | Self::RepositoryModelUnload => Need::Admin,
            _ => Need::Token,
        }
    }

    /// Whether it is of the Open Inference Protocol.
    pub(super) fn is_open_inference(self) -> bool {
        matches!(
            self,
            Self::ServerMetadata
                | Self::ServerLive
                | Self::ServerReady
                | Self::ModelMetadata
                | Self::ModelReady
                | Self::ModelInfer
                | Self::RepositoryIndex
                | Self::RepositoryModelLoad
                | Self::RepositoryModelUnload
        )
    }

    /// The operation of the Open Inference Protocol that ends a model's path.
    fn of_model(name: &str) -> Option<Self> {
        match name {
            "ready" => Some(Self::ModelReady),
            "infer" => Some(Self::ModelInfer),
            _ => None,
        }
    }

    /// The operation of a custom method, which a path names after a colon.
    fn custom(name: &str) -> Option<Self> {
        match name {
            "score" => Some(Self::Score),
            "explain" => Some(Self::Explain),
            "sample" => Some(Self::Sample),
            _ => None,
        }
    }
}

/// What a path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) operation: Operation,
    /// The model that it names; empty if it names none.
    pub(super) model: String,
    /// The version that it names, as it came; empty for the highest.
    pub(super) version: String,
}

impl Route {
    /// The route of a path, if there is one.
    pub(super) fn of(path: &str) -> Option<Self> {
        let segments: Vec<_> = path.strip_prefix('/')?.splitn(7, '/').collect();
        match segments.as_slice() {
            ["v1", "models"] => Self::new(Operation::ListModels, "", ""),
            ["v1", "models", model] => {
                let (model, operation) = Self::custom(model)?;
                Self::new(operation, model, "")
            }
            ["v1", "models", model, "versions", version] => {
                let (version, operation) = Self::custom(version)?;
                Self::new(operation, model, version)
            }
            ["openapi.json"] => Self::new(Operation::Description, "", ""),
            ["v2"] => Self::new(Operation::ServerMetadata, "", ""),
            ["v2", "health", "live"] => Self::new(Operation::ServerLive, "", ""),
            ["v2", "health", "ready"] => Self::new(Operation::ServerReady, "", ""),
            ["v2", "repository", "index"] => Self::new(Operation::RepositoryIndex, "", ""),
            ["v2", "repository", "models", model, "load"] => {
                Self::new(Operation::RepositoryModelLoad, model, "")
            }
            ["v2", "repository", "models", model, "unload"] => {
                Self::new(Operation::RepositoryModelUnload, model, "")
            }
            ["v2", "models", model] => Self::new(Operation::ModelMetadata, model, ""),
            ["v2", "models", model, "versions", version] => {
                Self::new(Operation::ModelMetadata, model, version)
            }
            ["v2", "models", model, name] => Self::new(Operation::of_model(name)?, model, ""),
            ["v2", "models", model, "versions", version, name] => {
                Self::new(Operation::of_model(name)?, model, version)
            }
            _ => None,
        }
    }

    /// A last segment of `/v1`, and what is to be done with what it names.
    fn custom(segment: &str) -> Option<(&str, Operation)> {
        match segment.rsplit_once(':') {
            None => Some((segment, Operation::GetModel)),
            Some((name, method)) => Some((name, Operation::custom(method)?)),
        }
    }

    fn new(operation: Operation, model: &str, version: &str) -> Option<Self> {
        let decoded = |text: &str| {
            let decoded = percent_decode_str(text).decode_utf8();
            decoded.ok().map(std::borrow::Cow::into_owned)
        };
        Some(Self {
            operation,
            model: decoded(model)?,
            version: decoded(version)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_operations_models_and_versions() {
        for (path, expected) in [
            ("/v1/models", Some((Operation::ListModels, "", ""))),
            ("/v1/models/a", Some((Operation::GetModel, "a", ""))),
            ("/v1/models/a:score", Some((Operation::Score, "a", ""))),
            (
                "/v1/models/a%20b:explain",
                Some((Operation::Explain, "a b", "")),
            ),
            (
                "/v1/models/a/versions/2",
                Some((Operation::GetModel, "a", "2")),
            ),
            (
                "/v1/models/a/versions/2:sample",
                Some((Operation::Sample, "a", "2")),
            ),
            ("/v1/models/a:forget", None),
            ("/v1/models/%ff:score", None),
            ("/v1/models/a/versions", None),
            ("/v1/models/a/versions/2/3", None),
            ("/v1", None),
            ("/v2", Some((Operation::ServerMetadata, "", ""))),
            ("/v2/health/ready", Some((Operation::ServerReady, "", ""))),
            ("/v2/models/a", Some((Operation::ModelMetadata, "a", ""))),
            ("/v2/models/a/ready", Some((Operation::ModelReady, "a", ""))),
            (
                "/v2/models/a/versions/3",
                Some((Operation::ModelMetadata, "a", "3")),
            ),
            (
                "/v2/models/a/versions/3/infer",
                Some((Operation::ModelInfer, "a", "3")),
            ),
            ("/v2/models/a/versions/3/infer/b", None),
            ("/v2/models/a/generate", None),
            (
                "/v2/repository/index",
                Some((Operation::RepositoryIndex, "", "")),
            ),
            (
                "/v2/repository/models/a%2Fb/load",
                Some((Operation::RepositoryModelLoad, "a/b", "")),
            ),
            (
                "/v2/repository/models/a/unload",
                Some((Operation::RepositoryModelUnload, "a", "")),
            ),
            ("/v2/repository/models/a/versions/1/load", None),
            ("/v2/repository/models/a/b/load", None),
            ("", None),
        ] {
            let expected = expected.map(|(operation, model, version)| Route {
                operation,
                model: model.to_owned(),
                version: version.to_owned(),
            });
            assert_eq!(Route::of(path), expected, "{path}");
        }
    }
}
