//! Step-level (continuous) batching.
//!
//! A chain needs K + 1 runs of `posterior.onnx`, and its rows do not influence each other. So
//! there is no collecting of a batch that then runs to its end: before every step, chains that are
//! finished or that nobody waits for any more leave, and waiting ones enter. Requests with
//! different K, step sizes, masks and numbers of chains share a batch, and none waits for another's
//! steps.
//!
//! # Who runs
//! * There are two classes. While both have more chains than fit, bulk holds its share of the rows
//!   ([`Policy::bulk_share`]) and interactive requests hold the others; what one class does not
//!   use is the other's.
//! * Bulk chains beyond the share leave the batch before the next step when interactive ones wait.
//!   Interactive chains are not sent away for bulk ones; bulk gets its share back as they end.
//! * Within a class jobs take turns, chain by chain, so that a job of many chains does not keep
//!   others waiting.
//! * A chain that takes more steps than the model's default K gives its row away after so many of
//!   them if others wait, and goes to the end of the line.
//!
//! A chain that leaves the batch before its end goes on later where it was. Noise is counter-based,
//! so its score is the same.
//!
//! # The parts
//! `queue` decides who gets a row, `batch` holds the rows and takes the steps, `worker` is the
//! thread that does both, `pace` tells admission how fast it goes.

mod batch;
mod engine;
mod pace;
mod queue;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lfbm_bundle::inference::ChainScore;
use lfbm_bundle::manifest::Langevin;
use lfbm_bundle::runtime::RuntimeError;
use tokio::sync::oneshot;
use tracing::Span;

pub use self::engine::Engine;
use self::pace::Pace;
use self::queue::JobId;
use self::worker::Worker;
use crate::admission::{Estimate, Permit, Priority};
use crate::telemetry::ModelMetrics;

/// A slice is as many steps as a default chain has, and no fewer than this, since coming and going
/// costs something.
const SHORTEST_SLICE_STEPS: u32 = 16;

/// How chains share a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Chains that share a step at most; at least 2, one for each class.
    pub capacity: usize,
    /// Share of the batch that is bulk's while both classes wait, from 0 to 1; each class has at
    /// least one row.
    pub bulk_share: f64,
    /// Batch sizes that are run, ascending; a smaller batch is padded to the next of them. Sizes
    /// beyond the last, and all if there is none, are run as they are.
    pub buckets: Vec<usize>,
    /// When chains may enter.
    pub batching: Batching,
}

impl Policy {
    /// Steps after which a chain gives its row away if others wait.
    fn slice_steps(&self, default_steps: u32) -> u32 {
        match self.batching {
            Batching::Step => default_steps.max(SHORTEST_SLICE_STEPS),
            Batching::Request { .. } => u32::MAX,
        }
    }
}

/// When waiting chains may enter the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batching {
    /// Before every step.
    Step,
    /// When the batch before has run to its end and the next is full, or has been collected for
    /// this long. What most servers do; the baseline.
    Request {
        /// How long at most, from the first chain.
        window: Duration,
    },
}

/// Inference of one image.
#[derive(Debug)]
pub struct Job {
    /// Intensities in [0, 1], C H W.
    pub image: Vec<f32>,
    /// H W, 1 where a pixel is visible and 0 where it is hidden; `None` where all are visible.
    pub mask: Option<Vec<f32>>,
    /// What to do.
    pub langevin: Langevin,
    /// Decides starts and noise.
    pub seed: u64,
    /// Who goes first.
    pub priority: Priority,
    /// When its answer is of no use any more.
    pub deadline: Option<Instant>,
    /// How long it was to take, by the estimate that let it in.
    pub expected: Option<Duration>,
    /// Whether x and g(z_K) are wanted.
    pub reconstruct: bool,
    /// Room for its chains.
    pub permit: Permit,
}

impl Job {
    /// Runs of the graph that a chain needs.
    fn runs_per_chain(&self) -> u64 {
        u64::from(self.langevin.steps) + 1
    }
}

/// What a job's chains ended with.
#[derive(Debug)]
pub struct Inferred {
    /// One score a chain, in the order of the chains.
    pub chains: Vec<ChainScore>,
    /// g(z_K), C H W, one a chain in the same order; empty unless [`Job::reconstruct`].
    pub reconstructions: Vec<Vec<f32>>,
    /// The preprocessed image, C H W, what [`Job::mask`] hides as black.
    pub x: Vec<f32>,
    /// From admission to the first step.
    pub queue_time: Duration,
    /// From the first step to the end of the last chain.
    pub compute_time: Duration,
}

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// A run of a graph failed.
    #[error("inference failed: {0}")]
    Runtime(Arc<RuntimeError>),
    /// The thread panicked while the job was in the batch.
    #[error("inference failed: a step panicked")]
    Panicked,
    /// The job's deadline passed; its rows are free again.
    #[error("the deadline passed before the last Langevin step")]
    DeadlineExceeded,
    /// The scheduler's thread is gone.
    #[error("the scheduler has stopped")]
    Stopped,
}

/// Why a scheduler cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A graph does not run.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The system has no thread to give.
    #[error("no thread for the scheduler: {0}")]
    Thread(#[from] std::io::Error),
}

type Reply = oneshot::Sender<Result<Inferred, SchedulerError>>;

struct Submission {
    id: JobId,
    job: Job,
    reply: Reply,
    admitted: Instant,
    /// The caller's span, and in it the one of the wait.
    caller: Span,
    stage: Span,
}

/// What the thread is told.
enum Message {
    Submit(Box<Submission>),
    /// Nobody waits for the job any more.
    Abandon(JobId),
}

/// A scheduler's door. When the last clone is dropped, the thread ends.
#[derive(Clone, Debug)]
pub struct Scheduler {
    // Unbounded, because admission bounds what is in it.
    messages: Sender<Message>,
    pace: Arc<Pace>,
    next_id: Arc<AtomicU64>,
    thread: Arc<JoinHandle<()>>,
}

impl Scheduler {
    /// Runs every batch size once, then starts the thread that takes the steps. May take seconds.
    ///
    /// # Errors
    /// When a graph does not run, or the system has no thread to give.
    pub fn start(
        name: &str,
        engine: Engine,
        policy: &Policy,
        metrics: ModelMetrics,
    ) -> Result<Self, StartError> {
        Self::start_with(name, engine, policy, metrics)
    }

    fn start_with(
        name: &str,
        graphs: impl engine::Graphs,
        policy: &Policy,
        metrics: ModelMetrics,
    ) -> Result<Self, StartError> {
        let (messages, receiver) = mpsc::channel();
        let slice_steps = policy.slice_steps(graphs.default_steps());
        let slice_runs = u64::from(slice_steps) + 1;
        let pace = Arc::new(Pace::new(policy.capacity, policy.bulk_share, slice_runs));
        let mut worker = Worker::new(graphs, policy.clone(), metrics, Arc::clone(&pace));
        worker.warm_up()?;
        let thread = thread::Builder::new()
            .name(format!("steps-{name}"))
            .spawn(move || worker.run(&receiver))?;
        Ok(Self {
            messages,
            pace,
            next_id: Arc::default(),
            thread: Arc::new(thread),
        })
    }

    /// Runs a job's chains. Dropping the future frees their rows before the next step, and so does
    /// the job's deadline.
    ///
    /// # Errors
    /// When a run of a graph fails, the deadline passes, or the thread is gone.
    pub async fn infer(&self, job: Job) -> Result<Inferred, SchedulerError> {
        let (reply, inferred) = oneshot::channel();
        let (deadline, expected) = (job.deadline, job.expected);
        let admitted = Instant::now();
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.pace
            .depart(job.priority, job.langevin.chains, job.runs_per_chain());
        let submission = Submission {
            id,
            job,
            reply,
            admitted,
            caller: Span::current(),
            stage: tracing::debug_span!("queue"),
        };
        self.messages
            .send(Message::Submit(Box::new(submission)))
            .map_err(|_| SchedulerError::Stopped)?;
        let mut abandon = AbandonOnDrop {
            messages: &self.messages,
            id: Some(id),
        };
        let inferred = async {
            let inferred = inferred.await;
            abandon.id = None;
            inferred.map_err(|_| SchedulerError::Stopped)?
        };
        let inferred = match deadline {
            None => inferred.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), inferred)
                .await
                .unwrap_or(Err(SchedulerError::DeadlineExceeded)),
        };
        if let (Some(expected), Ok(_) | Err(SchedulerError::DeadlineExceeded)) =
            (expected, &inferred)
        {
            self.pace.observe_answer(expected, admitted.elapsed());
        }
        inferred
    }

    /// How long a request would wait and run if it came now; `None` if the scheduler is idle.
    pub fn estimate(&self, priority: Priority, langevin: &Langevin) -> Option<Estimate> {
        let runs = u64::from(langevin.steps) + 1;
        self.pace.estimate(priority, langevin.chains, runs)
    }

    /// Whether the thread lives.
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }
}

/// Tells the thread when a caller stops waiting.
struct AbandonOnDrop<'a> {
    messages: &'a Sender<Message>,
    id: Option<JobId>,
}

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // A thread that is gone holds nothing.
            let _ = self.messages.send(Message::Abandon(id));
        }
    }
}
