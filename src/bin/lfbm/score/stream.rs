//! Many scores through one call, which costs both sides less than a call an image.

use std::collections::HashMap;
use std::time::Duration;

use lfbm_server::proto::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_server::proto::score_stream_response::Result as Scored;
use lfbm_server::proto::{ScoreRequest, ScoreResponse, ScoreStreamRequest, ScoreStreamResponse};
use prost::Message;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Request, Status};

use crate::connection::{Connection, WithoutDeadline};

type Answer = Result<ScoreResponse, Status>;

/// A `ScoreStream` call, opened again when it has broken.
///
/// What waits in it has no limit of its own: its users wait for their answers.
pub(super) struct ScoreStream {
    client: AnomalyDetectorClient<Connection>,
    /// A call has one deadline, which would be that of all its images; so this side keeps the time.
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

    /// What `Score` answers.
    pub(super) async fn score(&self, request: ScoreRequest) -> Answer {
        let broken = || Status::unavailable("the stream ended before the score came");
        let (sender, answer) = oneshot::channel();
        let question = Question {
            request,
            answer: sender,
        };
        self.questions()
            .await
            .send(question)
            .map_err(|_| broken())?;
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| Err(broken())),
            Err(_) => Err(Status::cancelled("timeout")),
        }
    }

    async fn questions(&self) -> UnboundedSender<Question> {
        let mut open = self.open.lock().await;
        match &*open {
            Some(questions) if !questions.is_closed() => questions.clone(),
            _ => {
                let (sender, questions) = unbounded_channel();
                tokio::spawn(drive(self.client.clone(), questions));
                *open = Some(sender.clone());
                sender
            }
        }
    }
}

/// Sends questions and hands out answers until the stream ends; then the open ones get its error.
async fn drive(
    client: AnomalyDetectorClient<Connection>,
    mut questions: UnboundedReceiver<Question>,
) {
    let mut waiting = HashMap::new();
    let Err(status) = exchange(client, &mut questions, &mut waiting).await else {
        return;
    };
    for answer in waiting.into_values() {
        // Who does not wait any more needs no answer.
        let _ = answer.send(Err(status.clone()));
    }
}

async fn exchange(
    mut client: AnomalyDetectorClient<Connection>,
    questions: &mut UnboundedReceiver<Question>,
    waiting: &mut HashMap<String, oneshot::Sender<Answer>>,
) -> Result<(), Status> {
    let (requests, receiver) = unbounded_channel();
    let mut call = Request::new(UnboundedReceiverStream::new(receiver));
    call.extensions_mut().insert(WithoutDeadline);
    let mut replies = client.score_stream(call).await?.into_inner();
    let mut id = 0_u64;
    loop {
        tokio::select! {
            question = questions.recv() => {
                let Some(Question { request, answer }) = question else {
                    return Ok(());
                };
                id += 1;
                waiting.insert(id.to_string(), answer);
                // When the call has ended, its replies say why.
                let _ = requests.send(ScoreStreamRequest {
                    id: id.to_string(),
                    request: Some(request),
                });
            }
            reply = replies.message() => {
                let Some(reply) = reply? else {
                    return Ok(());
                };
                if let Some(answer) = waiting.remove(&reply.id) {
                    let _ = answer.send(scored(reply));
                }
            }
        }
    }
}

fn scored(reply: ScoreStreamResponse) -> Answer {
    match reply.result {
        Some(Scored::Score(score)) => Ok(score),
        Some(Scored::Error(error)) => Err(Status::with_details(
            Code::from_i32(error.code),
            error.message.clone(),
            error.encode_to_vec().into(),
        )),
        None => Err(Status::internal("the reply has neither score nor error")),
    }
}
