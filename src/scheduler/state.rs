//! What the workers of a model share: the jobs, and which of them wait.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::Span;

use lfbm_runtime::Suspended;

use super::batch::{Finished, QueuedChain};
use super::pace::{Load, Pace};
use super::queue::{CLASSES, JobId, Queue};
use super::{Inferred, Job, Policy, Reply, SchedulerError};
use crate::request::{Estimate, Priority};
use crate::telemetry::ModelMetrics;

pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) metrics: ModelMetrics,
    state: Mutex<State>,
    /// Workers that have nothing to do wait on it.
    arrival: Condvar,
}

pub(super) struct State {
    queue: Queue,
    pace: Pace,
    jobs: HashMap<JobId, Pending>,
    next_id: JobId,
    /// Rows of each worker, by class.
    held: Vec<[usize; 2]>,
    closed: bool,
}

/// A job that waits or runs.
pub(super) struct Pending {
    /// Workers read it without the lock.
    job: Arc<Job>,
    reply: Reply,
    admitted: Instant,
    caller: Span,
    /// The span of the present stage: first queue, then compute.
    stage: Span,
    /// When its first chain entered a batch.
    started: Option<Instant>,
    /// Chains that have entered a batch.
    entered: u32,
    /// Chains that left a batch before their end, to be resumed.
    suspended: Vec<Suspended>,
    /// Those that are at their end.
    finished: Vec<Finished>,
}

/// A chain that a worker has taken from the queue.
pub(super) struct Dequeued {
    pub(super) id: JobId,
    pub(super) job: Arc<Job>,
    pub(super) chain: QueuedChain,
}

impl Shared {
    pub(super) fn new(
        policy: Policy,
        metrics: ModelMetrics,
        workers: usize,
        slice_runs: u64,
    ) -> Self {
        let state = State {
            queue: Queue::new(policy.capacity, policy.bulk_share),
            pace: Pace::new(policy.capacity, workers, policy.bulk_share, slice_runs),
            jobs: HashMap::new(),
            next_id: 0,
            held: vec![[0; 2]; workers],
            closed: false,
        };
        Self {
            policy,
            metrics,
            state: Mutex::new(state),
            arrival: Condvar::new(),
        }
    }

    /// The state. Hold it briefly, never while a graph runs or an image is copied: handlers of requests take
    /// this lock too.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a job and wakes a worker for it.
    pub(super) fn submit(&self, job: Job, reply: Reply) -> JobId {
        let (caller, stage) = (Span::current(), tracing::debug_span!("queue"));
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        if state.closed {
            // The reply is dropped, and says it.
            return id;
        }
        let turn = state.pace.turn(job.runs_per_chain());
        state
            .queue
            .push(id, job.priority, job.langevin.chains, turn);
        let now = Instant::now();
        let pending = Pending {
            job: Arc::new(job),
            reply,
            admitted: now,
            caller,
            stage,
            started: None,
            entered: 0,
            suspended: Vec::new(),
            finished: Vec::new(),
        };
        state.jobs.insert(id, pending);
        state.show(&self.metrics);
        drop(state);
        self.wake();
        id
    }

    /// Removes a job whose caller is gone. Workers drop its rows before their next step.
    pub(super) fn abandon(&self, id: JobId) {
        let mut state = self.lock();
        let abandoned = state.forget(id);
        state.show(&self.metrics);
        drop(state);
        drop(abandoned);
    }

    /// Ends every worker; callers that wait get [`SchedulerError::Stopped`].
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        drop(jobs);
        self.arrival.notify_all();
    }

    pub(super) fn estimate(&self, priority: Priority, chains: u32, runs: u64) -> Option<Estimate> {
        let state = self.lock();
        state.pace.estimate(&state.load(), priority, chains, runs)
    }

    /// A job was to be answered in `expected`, and took so long.
    pub(super) fn observe_answer(&self, expected: Duration, took: Duration) {
        self.lock().pace.observe_answer(expected, took);
    }

    /// Wakes a worker that sleeps, if one does.
    pub(super) fn wake(&self) {
        self.arrival.notify_one();
    }

    /// Waits on the condition variable until a worker is woken.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.arrival
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn is_alive(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    pub(super) fn observe_step(&mut self, rows: usize, took: Duration) {
        self.pace.observe_step(rows, took);
    }

    /// How many chains wait beyond the free rows; and how many rows bulk should give back, because
    /// interactive chains wait.
    pub(super) fn claims(&self) -> (usize, usize) {
        (self.queue.overflow(), self.queue.excess())
    }

    /// Whether chains wait that a worker may take.
    pub(super) fn may_take(&self) -> bool {
        self.queue.overflow() < self.queue.waiting()
    }

    /// Rows of a worker when those that run and those that wait are shared evenly. While somebody
    /// waits, there is always a worker that has fewer.
    pub(super) fn fair_share(&self) -> usize {
        let chains = self.queue.rows() + self.queue.waiting();
        chains.div_ceil(self.held.len())
    }

    /// Gives a worker the chain whose turn it is; `None` if every row is taken or nobody waits.
    pub(super) fn take(&mut self, worker: usize) -> Option<Dequeued> {
        let id = self.queue.take()?;
        // Always there: a job that is removed leaves no chain in the queue.
        let pending = self.jobs.get_mut(&id)?;
        self.held[worker][pending.job.priority as usize] += 1;
        if pending.started.is_none() {
            pending.started = Some(Instant::now());
            pending.stage = tracing::debug_span!(parent: &pending.caller, "compute");
        }
        let chain = pending.suspended.pop().map_or_else(
            || {
                pending.entered += 1;
                QueuedChain::New(pending.entered - 1)
            },
            QueuedChain::Suspended,
        );
        let job = Arc::clone(&pending.job);
        Some(Dequeued { id, job, chain })
    }

    /// A chain has left its row.
    pub(super) fn release(&mut self, worker: usize, priority: Priority) {
        self.held[worker][priority as usize] -= 1;
        self.queue.release(priority);
    }

    /// A chain has left its row, and has `runs` to go.
    pub(super) fn suspend(
        &mut self,
        worker: usize,
        job: JobId,
        priority: Priority,
        runs: u64,
        chain: Suspended,
    ) {
        self.release(worker, priority);
        if let Some(pending) = self.jobs.get_mut(&job) {
            pending.suspended.push(chain);
            self.queue.push(job, priority, 1, self.pace.turn(runs));
        }
    }

    /// Records a finished chain. Returns its job when all of the job's chains are finished.
    pub(super) fn finish(&mut self, worker: usize, finished: Finished) -> Option<Pending> {
        self.release(worker, finished.tag.priority);
        let Entry::Occupied(mut entry) = self.jobs.entry(finished.tag.job) else {
            return None;
        };
        let pending = entry.get_mut();
        pending.finished.push(finished);
        let chains = pending.job.langevin.chains as usize;
        (pending.finished.len() == chains).then(|| entry.remove())
    }

    /// Frees all rows of a worker whose step failed. Removes and returns the jobs that had chains there.
    pub(super) fn fail(
        &mut self,
        worker: usize,
        jobs: impl Iterator<Item = JobId>,
    ) -> Vec<Pending> {
        for priority in CLASSES {
            for _ in 0..self.held[worker][priority as usize] {
                self.queue.release(priority);
            }
        }
        self.held[worker] = [0; 2];
        jobs.filter_map(|id| self.forget(id)).collect()
    }

    fn forget(&mut self, job: JobId) -> Option<Pending> {
        self.queue.remove(job);
        self.jobs.remove(&job)
    }

    /// Tells metrics what there is.
    pub(super) fn show(&self, metrics: &ModelMetrics) {
        for (waiting, class) in metrics.chains_waiting.iter().zip(CLASSES) {
            waiting.set(self.queue.chains(class) as i64);
        }
        metrics.chains_running.set(self.queue.rows() as i64);
    }

    fn load(&self) -> Load {
        Load {
            rows: self.queue.rows(),
            queued: CLASSES.map(|class| self.queue.runs(class)),
        }
    }
}

impl Pending {
    pub(super) fn fail(self, error: SchedulerError) {
        self.answer(Err(error));
    }

    pub(super) fn finish(mut self) {
        let now = Instant::now();
        let started = self.started.unwrap_or(now);
        self.finished
            .sort_unstable_by_key(|finished| finished.number);
        let mut inferred = Inferred {
            chains: Vec::with_capacity(self.finished.len()),
            reconstructions: Vec::new(),
            x: Vec::new(),
            queue_time: started - self.admitted,
            compute_time: now - started,
        };
        for finished in std::mem::take(&mut self.finished) {
            inferred.chains.push(finished.score);
            inferred.reconstructions.extend(finished.reconstruction);
            inferred.x = finished.x.unwrap_or(inferred.x);
        }
        self.answer(Ok(inferred));
    }

    fn answer(self, result: Result<Inferred, SchedulerError>) {
        // The job first, for it holds the permit: a client that sends its next request on this answer finds room.
        drop(self.job);
        // A span lasts as long as those in it.
        drop((self.stage, self.caller));
        // A caller that is gone needs no answer.
        let _ = self.reply.send(result);
    }
}
