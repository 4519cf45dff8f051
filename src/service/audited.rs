//! The lines of requests in the audit log.

use std::time::{Duration, SystemTime};

use tonic::Code;

use super::call::Call;
use super::core::compute;
use super::{Report, ServiceError};
use crate::audit::{Answer, AuditLog, Line, Record};
use crate::models::Model;
use crate::request::{Draft, Image};

/// Begins the line of a request; gives the draft back.
pub(super) async fn begin(
    log: &AuditLog,
    call: &Call,
    model: &Model,
    draft: Draft,
) -> Result<(Line, Draft), ServiceError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a line says when it was by the wall's clock; what is timed is timed by Instant"
    )]
    let time = SystemTime::now();
    let (caller, manifest) = (call.caller(), &model.manifest);
    let size = draft.image.as_ref().map_or(0, Image::size);
    let of_image = log.clone();
    let (image, draft) = compute(size, move || {
        let image = draft.image.as_ref();
        (image.map(|image| of_image.digest(image.bytes())), draft)
    })
    .await?;
    let line = log.begin(Record {
        time,
        request_id: caller.request_id.clone(),
        item: call.item().cloned(),
        method: caller.method.clone(),
        token: caller.sender.label.clone(),
        model: manifest.name.clone(),
        version: manifest.version,
        decision: manifest.calibration.decision,
        image,
        answer: None,
        code: Code::Unknown,
        latency: Duration::ZERO,
    })?;
    Ok((line, draft))
}

/// Ends the line of a request as the request ended.
pub(super) fn end<T>(
    line: Line,
    result: Result<(Answer, T), ServiceError>,
) -> Result<T, ServiceError> {
    match result {
        Ok((answer, reply)) => {
            line.answered(answer);
            Ok(reply)
        }
        Err(error) => {
            line.failed(Report::from(&error).code);
            Err(error)
        }
    }
}
