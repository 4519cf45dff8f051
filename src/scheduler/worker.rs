//! The thread that takes the steps.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use lfbm_bundle::runtime::RuntimeError;
use tracing::Span;

use super::batch::{Batch, Entrant, Finished, Row, Suspended};
use super::engine::Graphs;
use super::pace::Pace;
use super::queue::{JobId, Queue};
use super::{Batching, Inferred, Job, Message, Policy, Reply, SchedulerError, Submission};
use crate::admission::Priority;
use crate::telemetry::ModelMetrics;

/// How long the thread sleeps when there is nothing to do: until a message comes, however late.
const IDLE: Duration = Duration::from_secs(3600);

/// Runs of a size before the first request; the quickest is what the size is taken to need.
const WARM_RUNS: usize = 4;

/// A job that waits or runs.
struct Pending {
    job: Job,
    reply: Reply,
    admitted: Instant,
    caller: Span,
    /// Queue, then compute: it ends when another takes its place.
    stage: Span,
    /// When its first chain entered the batch.
    started: Option<Instant>,
    /// Chains that have entered the batch.
    entered: u32,
    /// Those of them that have left it and are to go on.
    suspended: Vec<Suspended>,
    /// Those that are at their end.
    finished: Vec<Finished>,
}

pub(super) struct Worker<G> {
    graphs: G,
    policy: Policy,
    metrics: ModelMetrics,
    pace: Arc<Pace>,
    batch: Batch,
    queue: Queue,
    jobs: HashMap<JobId, Pending>,
    /// Since when chains wait; decides when a batch of whole requests starts.
    waiting_since: Option<Instant>,
    /// Empty between steps.
    finished: Vec<Finished>,
}

impl<G: Graphs> Worker<G> {
    pub(super) fn new(graphs: G, policy: Policy, metrics: ModelMetrics, pace: Arc<Pace>) -> Self {
        Self {
            batch: Batch::new(policy.capacity, &policy.buckets, graphs.sizes()),
            queue: Queue::new(policy.capacity, policy.bulk_share),
            graphs,
            policy,
            metrics,
            pace,
            jobs: HashMap::new(),
            waiting_since: None,
            finished: Vec::new(),
        }
    }

    /// Runs every batch size that steps will have, so that no request pays for a first time, and
    /// measures how long they take.
    pub(super) fn warm_up(&mut self) -> Result<(), RuntimeError> {
        let powers = (0..usize::BITS).map(|power| 1 << power);
        let mut sizes: Vec<usize> = powers
            .take_while(|size| *size < self.policy.capacity)
            .chain(self.policy.buckets.iter().copied())
            .chain([self.policy.capacity])
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        for rows in sizes {
            let rows = self.batch.padded(rows);
            self.batch.warm_up(&mut self.graphs, rows)?;
            let mut quickest = Duration::MAX;
            for _ in 0..WARM_RUNS {
                let started = Instant::now();
                self.batch.run(&mut self.graphs, rows, false)?;
                quickest = quickest.min(started.elapsed());
            }
            self.pace.observe_step(rows, quickest);
        }
        Ok(())
    }

    /// Works until every [`Scheduler`](super::Scheduler) is dropped, and with them who waits.
    pub(super) fn run(mut self, messages: &Receiver<Message>) {
        while self.receive(messages) {
            // What a panic leaves behind is thrown away by `fail_running`.
            let turn = catch_unwind(AssertUnwindSafe(|| self.turn()));
            match turn {
                Ok(Ok(())) => (),
                Ok(Err(error)) => {
                    tracing::error!(%error, "a step failed");
                    let error = Arc::new(error);
                    self.fail_running(|| SchedulerError::Runtime(Arc::clone(&error)));
                }
                Err(_) => self.fail_running(|| SchedulerError::Panicked),
            }
        }
    }

    /// Takes what has arrived; waits for it if there is nothing else to do. False at the end.
    fn receive(&mut self, messages: &Receiver<Message>) -> bool {
        loop {
            let message = match self.idle_for() {
                None => messages.try_recv(),
                Some(wait) => {
                    self.show();
                    messages.recv_timeout(wait).map_err(|error| match error {
                        RecvTimeoutError::Timeout => TryRecvError::Empty,
                        RecvTimeoutError::Disconnected => TryRecvError::Disconnected,
                    })
                }
            };
            match message {
                Ok(Message::Submit(submission)) => self.accept(*submission),
                Ok(Message::Abandon(id)) => self.abandon(id),
                Err(TryRecvError::Empty) => return true,
                // Whoever waits for a job holds a sender.
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// How long there is nothing to do unless a message comes; `None` if there is something.
    fn idle_for(&self) -> Option<Duration> {
        if !self.batch.rows().is_empty() {
            return None;
        }
        let Some(since) = self.waiting_since else {
            return Some(IDLE);
        };
        match self.policy.batching {
            Batching::Request { window } if self.queue.waiting() < self.policy.capacity => {
                let left = window.saturating_sub(since.elapsed());
                (!left.is_zero()).then_some(left)
            }
            _ => None,
        }
    }

    fn accept(&mut self, submission: Submission) {
        let Submission {
            id,
            job,
            reply,
            admitted,
            caller,
            stage,
        } = submission;
        let (priority, chains, runs) = (job.priority, job.langevin.chains, job.runs_per_chain());
        self.pace.arrive(priority, chains, runs);
        self.queue.push(id, priority, chains, self.pace.turn(runs));
        self.waiting_since.get_or_insert_with(Instant::now);
        let pending = Pending {
            job,
            reply,
            admitted,
            caller,
            stage,
            started: None,
            entered: 0,
            suspended: Vec::new(),
            finished: Vec::new(),
        };
        self.jobs.insert(id, pending);
    }

    /// Frees what a job holds that nobody waits for any more.
    fn abandon(&mut self, id: JobId) {
        if self.jobs.remove(&id).is_none() {
            return;
        }
        self.queue.remove(id);
        for row in (0..self.batch.rows().len()).rev() {
            let Row { job, priority, .. } = self.batch.rows()[row];
            if job == id {
                self.batch.remove(row);
                self.queue.release(priority);
            }
        }
    }

    /// Lets chains in, then takes a step.
    fn turn(&mut self) -> Result<(), RuntimeError> {
        match self.policy.batching {
            Batching::Step => {
                self.make_room();
                self.fill()?;
            }
            Batching::Request { .. } if self.batch.rows().is_empty() => self.fill()?,
            Batching::Request { .. } => (),
        }
        self.show();
        self.step()
    }

    /// Takes rows back that are somebody else's turn.
    fn make_room(&mut self) {
        let mut overflow = self.queue.overflow();
        let mut excess = self.queue.excess();
        if overflow == 0 {
            return;
        }
        let slice = self.policy.slice_steps(self.graphs.default_steps());
        for row in (0..self.batch.rows().len()).rev() {
            let state = &self.batch.rows()[row];
            let (id, priority, runs) = (state.job, state.priority, state.runs_left());
            let exceeds_share = priority == Priority::Bulk && excess > 0;
            let exceeds_slice = state.stay > slice && overflow > 0;
            if !exceeds_share && !exceeds_slice {
                continue;
            }
            excess -= usize::from(exceeds_share);
            overflow = overflow.saturating_sub(1);
            let suspended = self.batch.suspend(row);
            self.metrics.suspensions.inc();
            self.queue.release(priority);
            if let Some(pending) = self.jobs.get_mut(&id) {
                pending.suspended.push(suspended);
                self.queue.push(id, priority, 1, self.pace.turn(runs));
            }
        }
    }

    /// Gives free rows to waiting chains.
    fn fill(&mut self) -> Result<(), RuntimeError> {
        while let Some(id) = self.queue.take() {
            let Some(pending) = self.jobs.get_mut(&id) else {
                // Not reached: a job that goes leaves the queue too.
                continue;
            };
            if pending.started.is_none() {
                pending.started = Some(Instant::now());
                pending.stage = tracing::debug_span!(parent: &pending.caller, "compute");
            }
            let entrant = pending.suspended.pop().map_or_else(
                || {
                    pending.entered += 1;
                    Entrant::New(pending.entered - 1)
                },
                Entrant::Suspended,
            );
            self.batch.push(id, &pending.job, entrant);
        }
        if self.queue.waiting() == 0 {
            self.waiting_since = None;
        }
        self.batch.prepare(&mut self.graphs)
    }

    fn step(&mut self) -> Result<(), RuntimeError> {
        let rows = self.batch.rows().len();
        if rows == 0 {
            return Ok(());
        }
        let padded = self.batch.padded(rows);
        let started = Instant::now();
        self.batch.step(&mut self.graphs, &mut self.finished)?;
        let took = started.elapsed();
        self.pace.observe_step(padded, took);
        self.metrics.observe_step(rows, padded, took);
        for finished in self.finished.drain(..) {
            self.queue.release(finished.priority);
            if let Entry::Occupied(mut entry) = self.jobs.entry(finished.job) {
                let pending = entry.get_mut();
                pending.finished.push(finished);
                if pending.finished.len() == pending.job.langevin.chains as usize {
                    entry.remove().finish();
                }
            }
        }
        Ok(())
    }

    /// Ends every job that has been in the batch, which nobody can trust any more. Those that only
    /// waited go on waiting.
    fn fail_running(&mut self, error: impl Fn() -> SchedulerError) {
        let sizes = self.graphs.sizes();
        self.batch = Batch::new(self.policy.capacity, &self.policy.buckets, sizes);
        self.queue = Queue::new(self.policy.capacity, self.policy.bulk_share);
        self.finished.clear();
        for (_, pending) in self.jobs.extract_if(|_, pending| pending.started.is_some()) {
            drop(pending.job);
            // A caller that is gone needs no answer.
            let _ = pending.reply.send(Err(error()));
        }
        let mut waiting: Vec<_> = self.jobs.iter().collect();
        waiting.sort_unstable_by_key(|(id, _)| **id);
        for (id, Pending { job, .. }) in waiting {
            let turn = self.pace.turn(job.runs_per_chain());
            let (priority, chains) = (job.priority, job.langevin.chains);
            self.queue.push(*id, priority, chains, turn);
        }
    }

    /// Tells metrics and admission what there is.
    fn show(&self) {
        let rows = self.batch.rows().len();
        let classes = [Priority::Interactive, Priority::Bulk];
        self.pace
            .publish(rows, classes.map(|class| self.queue.runs(class)));
        for (waiting, class) in self.metrics.chains_waiting.iter().zip(classes) {
            waiting.set(self.queue.chains(class) as i64);
        }
        self.metrics.chains_running.set(rows as i64);
    }
}

impl Pending {
    fn finish(mut self) {
        let now = Instant::now();
        let started = self.started.unwrap_or(now);
        self.finished
            .sort_unstable_by_key(|finished| finished.chain);
        let mut inferred = Inferred {
            chains: Vec::with_capacity(self.finished.len()),
            reconstructions: Vec::new(),
            x: Vec::new(),
            queue_time: started - self.admitted,
            compute_time: now - started,
        };
        for finished in self.finished {
            inferred.chains.push(finished.score);
            inferred.reconstructions.extend(finished.reconstruction);
            inferred.x = finished.x.unwrap_or(inferred.x);
        }
        // Room first: a client that sends its next request on this answer finds it.
        drop(self.job);
        // A span lasts as long as those in it.
        drop((self.stage, self.caller));
        let _ = self.reply.send(Ok(inferred));
    }
}
