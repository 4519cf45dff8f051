//! Many scores through one `ScoreStream`, which costs less than a call an image.

use std::collections::HashMap;
use std::time::Duration;

use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::score_stream_response::Result as Scored;
use lfbm_wire::{
    ListModelsRequest, ScoreRequest, ScoreResponse, ScoreStreamRequest, ScoreStreamResponse,
};
use prost::Message;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};

use crate::connection::{Connection, WithoutDeadline};
use crate::status::{code, timed_out};

type Answer = Result<ScoreResponse, Status>;

/// A `ScoreStream` call, opened again when it has broken.
///
/// The queue has no bound of its own: the number of callers, who wait for their replies, bounds it.
pub(super) struct ScoreStream {
    client: AnomalyDetectorClient<Connection>,
    /// How long one image may take. A call has one deadline, which would be that of all its images, so
    /// the client keeps the time.
    timeout: Duration,
    open: Mutex<Option<UnboundedSender<Question>>>,
}

struct Question {
    request: ScoreRequest,
    answer: oneshot::Sender<Answer>,
}

impl ScoreStream {
    /// Opens nothing yet.
    pub(super) fn new(client: AnomalyDetectorClient<Connection>, timeout: Duration) -> Self {
        Self {
            client,
            timeout,
            open: Mutex::new(None),
        }
    }

    /// The answer to an image. `None` if the stream ended first, perhaps because of another image: send this
    /// one in a call of its own.
    pub(super) async fn score(&self, request: ScoreRequest) -> Option<Answer> {
        let (sender, answer) = oneshot::channel();
        let question = Question {
            request,
            answer: sender,
        };
        self.questions().await.send(question).ok()?;
        answer.await.ok()
    }

    async fn questions(&self) -> UnboundedSender<Question> {
        let mut open = self.open.lock().await;
        match &*open {
            Some(questions) if !questions.is_closed() => questions.clone(),
            _ => {
                let (sender, questions) = unbounded_channel();
                tokio::spawn(drive(self.client.clone(), questions, self.timeout));
                *open = Some(sender.clone());
                sender
            }
        }
    }
}

/// Sends requests and distributes replies until the stream ends.
async fn drive(
    mut client: AnomalyDetectorClient<Connection>,
    mut questions: UnboundedReceiver<Question>,
    timeout: Duration,
) {
    let mut waiting = HashMap::new();
    let ended = exchange(&mut client, &mut questions, &mut waiting, timeout).await;
    if let Err(status) = ended {
        questions.close();
        while let Some(Question { answer, .. }) = questions.recv().await {
            // Fails only if the caller is gone.
            let _ = answer.send(Err(status.clone()));
        }
        for answer in waiting.into_values() {
            let _ = answer.send(Err(status.clone()));
        }
    }
}

/// Runs until the stream ends; an error applies to every waiting image.
async fn exchange(
    client: &mut AnomalyDetectorClient<Connection>,
    questions: &mut UnboundedReceiver<Question>,
    waiting: &mut HashMap<String, oneshot::Sender<Answer>>,
    timeout: Duration,
) -> Result<(), Status> {
    let (requests, receiver) = unbounded_channel();
    let mut call = Request::new(UnboundedReceiverStream::new(receiver));
    call.extensions_mut().insert(WithoutDeadline);
    let opened = tokio::time::timeout(timeout, client.score_stream(call)).await;
    let reply = match opened.map_err(|_| timed_out())? {
        Ok(reply) => reply,
        Err(status) => return of_all(status),
    };
    let (head, mut replies, _) = reply.into_parts();
    let mut heard = Instant::now();
    let mut silences = 0;
    let mut id = 0_u64;
    loop {
        tokio::select! {
            // A reply that has arrived counts, however late it is read.
            biased;
            reply = replies.message() => {
                let reply = match reply {
                    Ok(Some(reply)) => reply,
                    Ok(None) => return Err(Status::unavailable("the stream ended before the score")),
                    Err(status) => return of_all(status),
                };
                heard = Instant::now();
                silences = 0;
                if let Some(answer) = waiting.remove(&reply.id) {
                    // Fails only if the caller is gone.
                    let _ = answer.send(scored(reply, &head));
                }
            }
            question = questions.recv() => {
                let Some(Question { request, answer }) = question else {
                    return Ok(());
                };
                if waiting.is_empty() {
                    heard = Instant::now();
                    silences = 0;
                }
                id += 1;
                waiting.insert(id.to_string(), answer);
                // When the call has ended, its replies say so.
                let _ = requests.send(ScoreStreamRequest {
                    id: id.to_string(),
                    request: Some(request),
                });
            }
            () = sleep(timeout.saturating_sub(heard.elapsed())), if !waiting.is_empty() => {
                // The images of a stream take turns, so their scores may all come late together. One timeout for
                // each waiting image is allowed, while the server still answers a short call.
                silences += 1;
                let sign_of_life = client.list_models(ListModelsRequest {}).await;
                let silent = sign_of_life.is_err_and(|status| code(&status) == Code::DeadlineExceeded);
                if silent || silences >= waiting.len() {
                    return Err(timed_out());
                }
                heard = Instant::now();
            }
        }
    }
}

/// An unavailable server fails all images. After any other error one image may be the cause, so the others
/// are sent again.
fn of_all(status: Status) -> Result<(), Status> {
    if code(&status) == Code::Unavailable {
        Err(status)
    } else {
        Ok(())
    }
}

/// An error has the request id of the call, which `head` tells.
fn scored(reply: ScoreStreamResponse, head: &MetadataMap) -> Answer {
    match reply.result {
        Some(Scored::Score(score)) => Ok(score),
        Some(Scored::Error(error)) => Err(Status::with_details_and_metadata(
            Code::from_i32(error.code),
            error.message.clone(),
            error.encode_to_vec().into(),
            head.clone(),
        )),
        None => Err(Status::internal("the reply has neither score nor error")),
    }
}
