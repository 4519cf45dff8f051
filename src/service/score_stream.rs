//! `ScoreStream`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{Stream, StreamExt, stream};
use lfbm_wire as proto;
use prost::Message;
use tonic::{Status, Streaming};

use super::ServiceError;
use super::call::Call;
use super::core::Core;
use super::score::score;
use crate::request::{Priority, check_id, cut};
use proto::score_stream_response::Result as Scored;

pub(super) type Replies =
    Pin<Box<dyn Stream<Item = Result<proto::ScoreStreamResponse, Status>> + Send>>;

pub(super) fn score_stream(
    core: Arc<Core>,
    call: Call,
    requests: Streaming<proto::ScoreStreamRequest>,
) -> Replies {
    let stopped = Arc::new(AtomicBool::new(false));
    let stop = {
        let (mut phases, stopped) = (core.phases.clone(), Arc::clone(&stopped));
        async move {
            phases.draining().await;
            stopped.store(true, Ordering::Relaxed);
        }
    };
    let in_flight = core.limits.stream_in_flight;
    let metrics = core.metrics.clone();
    let replies = requests
        .take_until(Box::pin(stop))
        .map(move |request| {
            // Before the next message is read.
            let (call, held) = call.for_message();
            let reply = reply(Arc::clone(&core), call, request);
            async move {
                let reply = reply.await;
                drop(held);
                reply
            }
        })
        .buffer_unordered(in_flight);
    let end = stream::once(async move { stopped.load(Ordering::Relaxed) })
        .filter(|stopped| std::future::ready(*stopped))
        .map(move |_| Err(ServiceError::Draining.into_status(&metrics)));
    Box::pin(replies.chain(end))
}

async fn reply(
    core: Arc<Core>,
    call: Call,
    request: Result<proto::ScoreStreamRequest, Status>,
) -> Result<proto::ScoreStreamResponse, Status> {
    // A message that cannot be read is the end: where the next one begins is not known.
    let proto::ScoreStreamRequest { id, request } =
        request.map_err(|status| match ServiceError::of_message(&status) {
            Some(error) => error.into_status(&core.metrics),
            None => status,
        })?;
    let scored = match check_id(&id) {
        Ok(()) => {
            let call = call.for_item(&id);
            score(&core, &call, request.unwrap_or_default(), Priority::Bulk).await
        }
        Err(violation) => Err(violation.into()),
    };
    let result = match scored {
        Ok(score) => Scored::Score(score),
        Err(error) => Scored::Error(message(&error.into_status(&core.metrics))),
    };
    Ok(proto::ScoreStreamResponse {
        id: cut_id(id),
        result: Some(result),
    })
}

/// An id that is too long comes back as its beginning.
fn cut_id(id: String) -> String {
    match check_id(&id) {
        Ok(()) => id,
        Err(_) => cut(&id).into_owned(),
    }
}

/// A status as a message.
fn message(status: &Status) -> tonic_types::Status {
    // What tonic calls details is that message, when there are details.
    tonic_types::Status::decode(status.details()).unwrap_or_else(|_| tonic_types::Status {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: Vec::new(),
    })
}
