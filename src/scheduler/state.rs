//! What the workers of a model share: the jobs, and which of them wait.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::Span;

use lfbm_runtime::{ChainSizes, Suspended};

use super::batch::{Finished, QueuedChain, Tag};
use super::pace::{Load, Pace};
use super::queue::{CLASSES, JobId, Queue};
use super::unread::Unread;
use super::{Inferred, Job, Policy, Reply, SchedulerError};
use crate::request::{Estimate, Priority};
use crate::telemetry::ModelMetrics;

pub(super) struct Shared {
    pub(super) policy: Policy,
    pub(super) metrics: ModelMetrics,
    pub(super) sizes: ChainSizes,
    state: Mutex<State>,
    /// Workers that have nothing to do wait on it.
    arrival: Condvar,
}

pub(super) struct State {
    queue: Queue,
    unread: Unread,
    pace: Pace,
    jobs: HashMap<JobId, Pending>,
    next_id: JobId,
    /// Rows of each worker, by class.
    held: Vec<[usize; 2]>,
    closed: bool,
}

/// What workers need of a job, without the lock.
pub(super) struct Work {
    pub(super) job: Job,
    /// Number S of sites of its image, where it has any.
    pub(super) sites: Option<usize>,
    /// x of the sites, S x D, once a worker has read them.
    x: OnceLock<Vec<f32>>,
}

impl Work {
    /// How many chains it has: those of every site.
    fn chains(&self) -> usize {
        self.job.langevin.chains as usize * self.sites.unwrap_or(1)
    }

    /// What a chain of a site is made of; sites must have been read.
    pub(super) fn input(&self, site: u32) -> &[f32] {
        match (self.sites, self.x.get()) {
            (Some(sites), Some(x)) => {
                let values = x.len() / sites;
                &x[site as usize * values..][..values]
            }
            _ => &self.job.image,
        }
    }

    /// Keeps the x of its sites.
    pub(super) fn set_sites(&self, x: Vec<f32>) {
        // Only the worker that took the job sets it.
        let _ = self.x.set(x);
    }
}

/// A job that waits or runs.
pub(super) struct Pending {
    work: Arc<Work>,
    /// Runs that each of its chains counts for, while they are not in the queue.
    unread: Option<u64>,
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
    suspended: Vec<(u32, Suspended)>,
    /// Those that are at their end.
    finished: Vec<Finished>,
}

/// A chain that a worker has taken from the queue.
pub(super) struct Dequeued {
    pub(super) id: JobId,
    pub(super) work: Arc<Work>,
    pub(super) chain: QueuedChain,
}

impl Shared {
    pub(super) fn new(
        policy: Policy,
        metrics: ModelMetrics,
        workers: usize,
        slice_runs: u64,
        sizes: ChainSizes,
    ) -> Self {
        let state = State {
            unread: Unread::new(policy.bulk_share),
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
            sizes,
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
        let work = Work {
            job,
            sites: self.sizes.sites,
            x: OnceLock::new(),
        };
        let (priority, chains) = (work.job.priority, work.chains());
        let unread = work.sites.map(|_| turn);
        match unread {
            None => state.queue.push(id, priority, chains as u32, turn),
            Some(turn) => state
                .unread
                .push(id, priority, chains, chains as u64 * turn),
        }
        let now = Instant::now();
        let pending = Pending {
            work: Arc::new(work),
            unread,
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

    /// How long a job would wait and run if it came now, with so many chains a site.
    pub(super) fn estimate(&self, priority: Priority, chains: u32, runs: u64) -> Option<Estimate> {
        let state = self.lock();
        let sites = u32::try_from(self.sizes.sites.unwrap_or(1)).unwrap_or(u32::MAX);
        let chains = chains.saturating_mul(sites);
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

    /// Whether a row is free that no chain waits for, and no image waits to be read.
    pub(super) fn has_room(&self) -> bool {
        self.unread.is_empty() && self.queue.has_free_rows()
    }

    /// Whether chains wait that a worker may take.
    pub(super) fn may_take(&self) -> bool {
        self.queue.overflow() < self.queue.waiting() || self.reads_next()
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
        self.held[worker][pending.work.job.priority as usize] += 1;
        pending.start();
        let chain = pending.suspended.pop().map_or_else(
            || {
                pending.entered += 1;
                QueuedChain::New(pending.entered - 1)
            },
            |(index, suspended)| QueuedChain::Suspended(index, suspended),
        );
        let work = Arc::clone(&pending.work);
        Some(Dequeued { id, work, chain })
    }

    /// Whether an image is to be read now: waiting chains do not fill the rows, or none of them is of the
    /// class that goes first.
    fn reads_next(&self) -> bool {
        let interactive = self.queue.chains(Priority::Interactive);
        !self.unread.is_empty()
            && (self.queue.overflow() == 0
                || (interactive == 0 && self.unread.waits(Priority::Interactive)))
    }

    /// Gives a worker the image to read next, if one is to be read now.
    pub(super) fn take_unread(&mut self) -> Option<(JobId, Arc<Work>)> {
        if !self.reads_next() {
            return None;
        }
        let id = self.unread.pop()?;
        let pending = self.jobs.get_mut(&id)?;
        pending.start();
        Some((id, Arc::clone(&pending.work)))
    }

    /// The sites of a job have been read in so much time: its chains wait for rows.
    pub(super) fn enqueue_sites(&mut self, id: JobId, took: Duration) {
        self.pace.observe_reading(took);
        let Some(pending) = self.jobs.get_mut(&id) else {
            return;
        };
        let (priority, chains) = (pending.work.job.priority, pending.work.chains());
        if let Some(turn) = pending.unread.take() {
            let runs = chains as u64 * turn;
            self.unread.discount(priority, chains, runs);
            self.queue.push(id, priority, chains as u32, turn);
        }
    }

    /// Removes a job whose image cannot be read.
    pub(super) fn fail_unread(&mut self, id: JobId) -> Option<Pending> {
        self.forget(id)
    }

    /// A chain has left its row.
    pub(super) fn release(&mut self, worker: usize, priority: Priority) {
        self.held[worker][priority as usize] -= 1;
        self.queue.release(priority);
    }

    /// A chain has left its row, and has `runs` to go.
    pub(super) fn suspend(&mut self, worker: usize, runs: u64, tag: Tag, chain: Suspended) {
        let Tag {
            job,
            priority,
            index,
        } = tag;
        self.release(worker, priority);
        if let Some(pending) = self.jobs.get_mut(&job) {
            pending.suspended.push((index, chain));
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
        (pending.finished.len() == pending.work.chains()).then(|| entry.remove())
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
        let pending = self.jobs.remove(&job)?;
        if let Some(turn) = pending.unread {
            let (priority, chains) = (pending.work.job.priority, pending.work.chains());
            self.unread.remove(job, priority);
            self.unread.discount(priority, chains, chains as u64 * turn);
        }
        Some(pending)
    }

    /// Tells metrics what there is.
    pub(super) fn show(&self, metrics: &ModelMetrics) {
        for (waiting, class) in metrics.chains_waiting.iter().zip(CLASSES) {
            waiting.set((self.queue.chains(class) + self.unread.chains(class)) as i64);
        }
        metrics.chains_running.set(self.queue.rows() as i64);
    }

    fn load(&self) -> Load {
        Load {
            rows: self.queue.rows(),
            queued: CLASSES.map(|class| self.queue.runs(class) + self.unread.runs(class)),
            unread: self.unread.len(),
        }
    }
}

impl Pending {
    /// A worker begins with it.
    fn start(&mut self) {
        if self.started.is_none() {
            self.started = Some(Instant::now());
            self.stage = tracing::debug_span!(parent: &self.caller, "compute");
        }
    }

    pub(super) fn fail(self, error: SchedulerError) {
        self.answer(Err(error));
    }

    pub(super) fn finish(mut self) {
        let now = Instant::now();
        let started = self.started.unwrap_or(now);
        self.finished
            .sort_unstable_by_key(|finished| finished.tag.index);
        let mut inferred = Inferred {
            chains: Vec::with_capacity(self.finished.len()),
            reconstructions: Vec::new(),
            x: self.work.x.get().cloned().unwrap_or_default(),
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
        drop(self.work);
        // A span lasts as long as those in it.
        drop((self.stage, self.caller));
        // A caller that is gone needs no answer.
        let _ = self.reply.send(result);
    }
}
