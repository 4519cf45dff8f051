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
//! * Bulk chains beyond the share leave their rows before the next step when interactive ones wait.
//!   Interactive chains are not sent away for bulk ones; bulk gets its share back as they end.
//! * Within a class jobs take turns, chain by chain, so that a job of many chains does not keep
//!   others waiting.
//! * A chain that takes more steps than the model's default K gives its row away after so many of
//!   them if others wait, and goes to the end of the line.
//!
//! Where images have sites, a worker first reads an image: it makes the x of all its sites, whose chains
//! then wait for rows. Images are read when the waiting chains do not fill the rows, so none is read
//! long before its turn; bulk gets its share of the reads.
//!
//! A chain that leaves its row before its end goes on later where it was. Noise is counter-based,
//! so its score is the same.
//!
//! # The parts
//! A worker is a thread with sessions and a batch of its own: `worker` is the thread, `batch` its rows.
//! Workers step in parallel and never wait for each other. Before each step a worker locks `state`,
//! where `queue` decides who gets a row and `pace` estimates durations. A chain stays with the worker
//! that took it last, also when another becomes idle.

mod batch;
mod graphs;
mod pace;
mod queue;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod unread;
mod worker;

use std::panic::resume_unwind;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lfbm_bundle::manifest::Langevin;
use lfbm_detector::ChainScore;
use lfbm_runtime::{ChainGraphs, RuntimeError};
use tokio::sync::oneshot;

use self::queue::JobId;
pub use self::settings::BatchSettings;
pub(crate) use self::settings::MAX_BATCH_CHAINS;
use self::state::Shared;
use self::worker::Worker;
use crate::background::yield_to_others;
use crate::request::{Estimate, Permit, Priority};
use crate::telemetry::ModelMetrics;

/// A slice is as many steps as a default chain has, and no fewer than this, since coming and going
/// costs something.
const SHORTEST_SLICE_STEPS: u32 = 16;

/// How chains share a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Chains under way at most, which the workers share evenly; at least 2, one for each class.
    pub capacity: usize,
    /// Share of them that is bulk's while both classes wait, from 0 to 1; each class has at
    /// least one row.
    pub bulk_share: f64,
    /// Sizes of batches that are run, ascending; a smaller batch is padded to the next of them. Sizes
    /// beyond the last, and all if there is none, are run as they are.
    pub buckets: Vec<usize>,
    /// Whether the threads that run the chains let all others of the machine go first.
    pub background: bool,
}

impl Policy {
    /// Steps after which a chain gives its row away if others wait.
    fn slice_steps(&self, default_steps: u32) -> u32 {
        default_steps.max(SHORTEST_SLICE_STEPS)
    }
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
    /// One score a chain, in the order of the chains; where images have sites, first those of the first
    /// site.
    pub chains: Vec<ChainScore>,
    /// g(z_K), as large as an x, one a chain in the same order; empty unless [`Job::reconstruct`].
    pub reconstructions: Vec<Vec<f32>>,
    /// The preprocessed image, C H W, what [`Job::mask`] hides as black; where images have sites, the x
    /// of all sites, S x D.
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
    /// A thread panicked while it held a chain of the job.
    #[error("inference failed: a step panicked")]
    Panicked,
    /// The job's deadline passed; its rows are free again.
    #[error("the deadline passed before the last Langevin step")]
    DeadlineExceeded,
    /// A thread of the scheduler is gone.
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

/// A handle to a scheduler. When the last clone is dropped, its workers end.
#[derive(Clone)]
pub struct Scheduler(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Scheduler {
    /// Starts a thread for each of `graphs`, of which there is at least one, where its placement says; more
    /// than the policy has rows for are not used. Returns when each has run every batch size a few times,
    /// which may take seconds.
    ///
    /// # Errors
    /// When a graph does not run, or the system has no thread to give.
    pub fn start(
        name: &str,
        graphs: Vec<ChainGraphs>,
        policy: Policy,
        metrics: ModelMetrics,
    ) -> Result<Self, StartError> {
        Self::start_with(name, graphs, policy, metrics)
    }

    fn start_with<G: graphs::Graphs>(
        name: &str,
        mut graphs: Vec<G>,
        policy: Policy,
        metrics: ModelMetrics,
    ) -> Result<Self, StartError> {
        graphs.truncate(policy.capacity);
        let default_steps = graphs.first().map_or(0, |graphs| graphs.default_steps());
        let slice_runs = u64::from(policy.slice_steps(default_steps)) + 1;
        let (capacity, workers) = (policy.capacity, graphs.len());
        let background = policy.background;
        let room = |worker| capacity / workers + usize::from(worker < capacity % workers);
        let sizes = graphs
            .first()
            .map(graphs::Graphs::sizes)
            .unwrap_or_default();
        let shared = Shared::new(policy, metrics, workers, slice_runs, sizes);
        let mut handle = Handle {
            shared: Arc::new(shared),
            workers: Vec::with_capacity(workers),
        };
        let mut warm_ups = Vec::with_capacity(workers);
        // All warm up at the same time, as they will step.
        for (number, graphs) in graphs.into_iter().enumerate() {
            let (shared, room) = (Arc::clone(&handle.shared), room(number));
            let (warm, warm_up) = mpsc::channel();
            let thread = thread::Builder::new().name(format!("worker-{number}-{name}"));
            handle.workers.push(thread.spawn(move || {
                if background {
                    yield_to_others();
                }
                let start = || -> Result<_, RuntimeError> {
                    // First, so that what the worker writes lies in the memory of its node.
                    graphs.placement().bind_thread()?;
                    let mut worker = Worker::new(number, graphs, shared, room);
                    worker.warm_up()?;
                    Ok(worker)
                };
                match start() {
                    Ok(worker) if warm.send(Ok(())).is_ok() => worker.run(),
                    Ok(_) => (),
                    // Whoever started it is gone too.
                    Err(error) => drop(warm.send(Err(error))),
                }
            })?);
            warm_ups.push(warm_up);
        }
        let results: Vec<_> = warm_ups.iter().map(mpsc::Receiver::recv).collect();
        if results.iter().any(|result| !matches!(result, Ok(Ok(())))) {
            // No thread is left running in a process that may end because of this error.
            handle.shared.close();
            for worker in handle.workers.drain(..) {
                worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        }
        results.into_iter().flatten().collect::<Result<(), _>>()?;
        Ok(Self(Arc::new(handle)))
    }

    /// Runs a job's chains. Dropping the future frees their rows before the next step, and so does
    /// the job's deadline.
    ///
    /// # Errors
    /// When a run of a graph fails, the deadline passes, or the threads are gone.
    pub async fn infer(&self, job: Job) -> Result<Inferred, SchedulerError> {
        let (reply, inferred) = oneshot::channel();
        let (deadline, expected) = (job.deadline, job.expected);
        let shared = &*self.0.shared;
        let submitted = Instant::now();
        let mut abandon = AbandonOnDrop {
            shared,
            id: Some(shared.submit(job, reply)),
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
            shared.observe_answer(expected, submitted.elapsed());
        }
        inferred
    }

    /// How long a request would wait and run if it came now; `None` if the scheduler is idle.
    pub fn estimate(&self, priority: Priority, langevin: &Langevin) -> Option<Estimate> {
        let runs = u64::from(langevin.steps) + 1;
        self.0.shared.estimate(priority, langevin.chains, runs)
    }

    /// Whether the chains of another image would have rows at once.
    pub fn has_room(&self) -> bool {
        self.0.shared.lock().has_room()
    }

    /// How many threads run chains.
    pub fn workers(&self) -> usize {
        self.0.workers.len()
    }

    /// Whether all its threads live.
    pub fn is_alive(&self) -> bool {
        !self.0.workers.iter().any(JoinHandle::is_finished)
    }
}

/// Removes the job when its caller stops waiting.
struct AbandonOnDrop<'a> {
    shared: &'a Shared,
    id: Option<JobId>,
}

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.shared.abandon(id);
        }
    }
}
