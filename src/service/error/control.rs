use tonic::Code;

use crate::transport::NotAdmin;

/// Why a model is not loaded or unloaded, beside what is wrong with the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// The settings name no admin tokens.
    #[error(
        "this server loads and unloads no models on request: it needs --admin-tokens-file. Put a bundle into \
         a folder that --bundle names, or take it out, and the server finds out within --model-poll-s \
         seconds or on SIGHUP"
    )]
    Off,
    /// The sender may not.
    #[error(transparent)]
    NotAdmin(#[from] NotAdmin),
    /// Another request is under way.
    #[error("another model is being loaded or unloaded; try again when that has ended")]
    Busy,
    /// The bundle cannot be served.
    #[error("the model cannot be served: {0}")]
    Refused(String),
}

impl ControlError {
    /// The class of the error and its reason.
    pub(super) fn class(&self) -> (Code, &'static str) {
        match self {
            Self::Off => (Code::Unimplemented, "CONTROL_OFF"),
            Self::NotAdmin(NotAdmin::NoToken) => (Code::Unauthenticated, "TOKEN_REQUIRED"),
            Self::NotAdmin(NotAdmin::OtherToken) => {
                (Code::PermissionDenied, "ADMIN_TOKEN_REQUIRED")
            }
            Self::NotAdmin(NotAdmin::Host) => (Code::PermissionDenied, "HOST_UNKNOWN"),
            Self::NotAdmin(NotAdmin::Origin) => (Code::PermissionDenied, "ORIGIN_UNKNOWN"),
            Self::Busy => (Code::Aborted, "CONTROL_BUSY"),
            Self::Refused(_) => (Code::FailedPrecondition, "MODEL_REFUSED"),
        }
    }
}
