//! Sends requests when they are due, and collects the replies.

use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lfbm_wire::{Image, Priority, ScoreRequest, ScoreResponse};
use prost::Message;
use prost::bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::Exp;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Response, Status};

use super::arrivals;
use super::codec::EncodedScore;
use super::measurement::{Measurement, Outcome, Window};
use crate::connection::Connection;

const METHOD: PathAndQuery = PathAndQuery::from_static("/lfbm.v1.AnomalyDetector/Score");

/// What decides when the next request is due.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// An answer: so many requests are under way at any time.
    Closed {
        /// How many.
        concurrency: usize,
    },
    /// A Poisson process, whatever the server does.
    Open {
        /// Its rate.
        per_s: Exp<f64>,
    },
}

/// Encoded requests; every request takes the next of its priority.
pub(super) struct Requests {
    interactive: Vec<Bytes>,
    bulk: Vec<Bytes>,
}

impl Requests {
    /// Encodes the request that `make` makes of an image and a priority, for all of them.
    pub(super) fn encode(images: &[Image], make: impl Fn(Image, Priority) -> ScoreRequest) -> Self {
        let encode = |priority| {
            let requests = images.iter().map(|image| make(image.clone(), priority));
            requests
                .map(|request| request.encode_to_vec().into())
                .collect()
        };
        Self {
            interactive: encode(Priority::Interactive),
            bulk: encode(Priority::Bulk),
        }
    }

    fn of(&self, priority: Priority) -> &[Bytes] {
        match priority {
            Priority::Bulk => &self.bulk,
            Priority::Interactive | Priority::Unspecified => &self.interactive,
        }
    }
}

/// A load on a server.
pub(super) struct Load {
    /// Every request takes the next.
    pub(super) connections: Vec<Grpc<Connection>>,
    pub(super) requests: Requests,
    /// The share of requests of bulk priority.
    pub(super) bulk_share: f64,
    /// Decides which these are, and when requests are due in an open loop.
    pub(super) seed: u64,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    pub(super) max_outstanding: usize,
}

impl Load {
    /// Runs until the time is over and every request has its answer, or until `stop`.
    pub(super) async fn run(
        &self,
        pace: Pace,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> anyhow::Result<Measurement> {
        let from = Instant::now() + self.warmup;
        let window = Window {
            from,
            to: from + self.duration,
        };
        let mut measurement = Measurement::new(window)?;
        let stopped = tokio::select! {
            result = self.drive(pace, window, &mut measurement) => {
                result?;
                None
            }
            () = stop => Some(Instant::now()),
        };
        measurement.stopped = stopped;
        Ok(measurement)
    }

    async fn drive(
        &self,
        pace: Pace,
        window: Window,
        measurement: &mut Measurement,
    ) -> anyhow::Result<()> {
        let (sender, mut due) = unbounded_channel();
        let mut after_an_answer = self.start(pace, window.to, sender);
        let mut priorities = StdRng::seed_from_u64(self.seed);
        let mut outstanding = FuturesUnordered::new();
        let mut sent = 0;
        loop {
            tokio::select! {
                biased;
                Some(due) = due.recv() => {
                    if outstanding.len() == self.max_outstanding {
                        measurement.record_not_sent(due);
                        continue;
                    }
                    let priority = if priorities.random_bool(self.bulk_share) {
                        Priority::Bulk
                    } else {
                        Priority::Interactive
                    };
                    let requests = self.requests.of(priority);
                    let request = requests[sent % requests.len()].clone();
                    let connection = self.connections[sent % self.connections.len()].clone();
                    outstanding.push(send(connection, request, priority, due));
                    sent += 1;
                    measurement.outstanding(outstanding.len());
                }
                Some(outcome) = outstanding.next() => {
                    if outcome.answered >= window.to {
                        after_an_answer = None;
                    }
                    if let Some(sender) = &after_an_answer {
                        sender.send(outcome.answered)?;
                    }
                    measurement.record(outcome)?;
                }
                else => return Ok(()),
            }
        }
    }

    /// Sends the times at which the first requests are due. In a closed loop, returns the sender for later ones.
    fn start(
        &self,
        pace: Pace,
        end: Instant,
        due: UnboundedSender<Instant>,
    ) -> Option<UnboundedSender<Instant>> {
        match pace {
            Pace::Closed { concurrency } => {
                for _ in 0..concurrency {
                    // The receiver is there: it is the caller's.
                    let _ = due.send(Instant::now());
                }
                Some(due)
            }
            Pace::Open { per_s } => {
                arrivals::poisson(per_s, end, self.seed, due);
                None
            }
        }
    }
}

async fn send(
    mut connection: Grpc<Connection>,
    request: Bytes,
    priority: Priority,
    due: Instant,
) -> Outcome {
    let sent = Instant::now();
    let result = async {
        connection
            .ready()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        connection
            .unary(Request::new(request), METHOD, EncodedScore)
            .await
    };
    let result = result.await.map(Response::into_inner);
    let answered = Instant::now();
    let server_times = result.as_ref().ok().and_then(server_times);
    Outcome {
        priority,
        due,
        sent,
        answered,
        error: result.err(),
        server_times,
    }
}

fn server_times(reply: &ScoreResponse) -> Option<(Duration, Duration)> {
    let duration = |time: Option<prost_types::Duration>| Duration::try_from(time?).ok();
    Some((duration(reply.queue_time)?, duration(reply.compute_time)?))
}
