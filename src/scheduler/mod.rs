//! Step-level (continuous) batching.
//!
//! A chain needs K + 1 runs of `posterior.onnx`, and its rows do not influence each other. So
//! there is no collecting of a batch that then runs to its end: before every step, chains that are
//! finished or that nobody waits for any more leave, and waiting ones enter. Requests with
//! different K, step sizes and numbers of chains share a batch, and none waits for another's
//! steps.

mod batch;
mod worker;

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use lfbm_bundle::inference::ChainScore;
use lfbm_bundle::manifest::Langevin;
use lfbm_bundle::runtime::{PosteriorStep, Preprocess, RuntimeError};
use tokio::sync::{mpsc, oneshot};

use crate::admission::{Permit, Priority};
use crate::telemetry::ModelMetrics;
use batch::Batch;

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
    /// Whether g(z_K) is wanted.
    pub reconstruct: bool,
    /// Room for its chains.
    pub permit: Permit,
}

/// What a job's chains ended with.
#[derive(Debug)]
pub struct Inferred {
    /// One score a chain, in the order of the chains.
    pub chains: Vec<ChainScore>,
    /// g(z_K), C H W, one a chain in the same order; empty unless the job asked for it.
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
    /// The job's deadline passed; its rows are free again.
    #[error("the deadline passed before the last Langevin step")]
    DeadlineExceeded,
    /// The scheduler's thread is gone.
    #[error("the scheduler has stopped")]
    Stopped,
}

type Reply = oneshot::Sender<Result<Inferred, SchedulerError>>;

struct Submission {
    job: Job,
    reply: Reply,
    admitted: Instant,
}

/// A scheduler's door. When the last clone is dropped, the thread finishes what it has and ends.
#[derive(Clone, Debug)]
pub struct Scheduler {
    submissions: mpsc::UnboundedSender<Submission>,
}

/// The graphs that a scheduler runs, and their sizes.
pub struct Engine {
    /// Pixels to x.
    pub preprocess: Preprocess,
    /// One Langevin step.
    pub posterior: PosteriorStep,
    /// C H W.
    pub pixels: usize,
    /// H W.
    pub positions: usize,
    /// d.
    pub latent_dim: usize,
}

impl Scheduler {
    /// Starts the thread that takes the steps, at most `capacity` chains at once.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn start(
        name: &str,
        engine: Engine,
        capacity: usize,
        metrics: ModelMetrics,
    ) -> std::io::Result<Self> {
        // Unbounded, because admission bounds what is in it.
        let (submissions, receiver) = mpsc::unbounded_channel();
        let batch = Batch::new(capacity, engine.pixels, engine.positions, engine.latent_dim);
        thread::Builder::new()
            .name(format!("steps-{name}"))
            .spawn(move || worker::run(engine, batch, receiver, &metrics))?;
        Ok(Self { submissions })
    }

    /// Runs a job's chains. Dropping the future frees their rows before the next step, and so does
    /// the job's deadline.
    ///
    /// # Errors
    /// When a run of a graph fails, the deadline passes, or the thread is gone.
    pub async fn infer(&self, job: Job) -> Result<Inferred, SchedulerError> {
        let (reply, inferred) = oneshot::channel();
        let deadline = job.deadline;
        let submission = Submission {
            job,
            reply,
            admitted: Instant::now(),
        };
        self.submissions
            .send(submission)
            .map_err(|_| SchedulerError::Stopped)?;
        let inferred = async { inferred.await.map_err(|_| SchedulerError::Stopped)? };
        match deadline {
            None => inferred.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), inferred)
                .await
                .unwrap_or(Err(SchedulerError::DeadlineExceeded)),
        }
    }

    /// Whether the thread lives.
    pub fn is_alive(&self) -> bool {
        !self.submissions.is_closed()
    }
}
