//! Errors as gRPC statuses.

use std::collections::HashMap;

use tonic::Status;
use tonic::metadata::MetadataValue;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use super::ServiceError;
use super::report::{Cause, Report};
use crate::wire::Encoding;

const GRPC_ACCEPT_ENCODING: &str = "grpc-accept-encoding";
const DOMAIN: &str = "lfbm.v1";

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let names_encodings = matches!(error, ServiceError::Encoding(_));
        let Report {
            code,
            message,
            cause,
            retry_after,
        } = error.into();
        let mut details = match cause {
            Cause::Fields(fields) => {
                let fields = fields
                    .into_iter()
                    .map(|wrong| FieldViolation::new(wrong.field, wrong.description));
                ErrorDetails::with_bad_request(fields.collect::<Vec<_>>())
            }
            Cause::Model(name) => {
                ErrorDetails::with_resource_info("lfbm.v1.Model", name, "", &message)
            }
            Cause::Reason(reason) => ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new()),
        };
        if let Some(retry_after) = retry_after {
            details.set_retry_info(Some(retry_after));
        }
        let mut status = Status::with_error_details(code, message, details);
        if names_encodings {
            let accepted = MetadataValue::from_static(Encoding::ACCEPTED);
            status.metadata_mut().insert(GRPC_ACCEPT_ENCODING, accepted);
        }
        status
    }
}
