//! A thread that steps a batch of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lfbm_runtime::{ChainSizes, RuntimeError};
use prometheus::IntCounter;

use super::SchedulerError;
use super::batch::{self, Batch, Finished, Tag};
use super::graphs::Graphs;
use super::queue::JobId;
use super::state::{Dequeued, Shared, State, Work};
use crate::request::Priority;

/// Runs of a size before the first request; the quickest is what the size is taken to need.
const WARM_RUNS: usize = 4;

pub(super) struct Worker<G> {
    number: usize,
    graphs: G,
    shared: Arc<Shared>,
    capacity: usize,
    /// Steps of its device.
    device_steps: IntCounter,
    batch: Batch,
    /// An image whose sites are to be read before the next step.
    reading: Option<(JobId, Arc<Work>)>,
    /// Chains that have a row and are not in it yet.
    entering: Vec<Dequeued>,
    /// Empty between steps.
    finished: Vec<Finished>,
}

impl<G: Graphs> Worker<G> {
    /// Worker `number` with `capacity` of the rows.
    pub(super) fn new(number: usize, graphs: G, shared: Arc<Shared>, capacity: usize) -> Self {
        Self {
            number,
            device_steps: shared.metrics.steps_on(&graphs.placement().to_string()),
            batch: Batch::new(capacity, &shared.policy.buckets, graphs.sizes()),
            graphs,
            shared,
            capacity,
            reading: None,
            entering: Vec::new(),
            finished: Vec::new(),
        }
    }

    /// Runs every batch size that steps will have, so that no request pays for a first time, and
    /// measures how long they take. On the thread that is to step, to which recordings belong.
    pub(super) fn warm_up(&mut self) -> Result<(), RuntimeError> {
        let powers = (0..usize::BITS).map(|power| 1 << power);
        let mut sizes: Vec<usize> = powers
            .take_while(|size| *size < self.capacity)
            .chain(self.shared.policy.buckets.iter().copied())
            .chain([self.capacity])
            .map(|size| size.min(self.capacity))
            .collect();
        sizes.sort_unstable();
        sizes.dedup();
        for rows in sizes {
            let rows = self.batch.padded(rows);
            self.batch.warm_up(&mut self.graphs, rows)?;
            self.graphs.record(rows)?;
            let mut quickest = Duration::MAX;
            for _ in 0..WARM_RUNS {
                let started = Instant::now();
                self.batch.run(&mut self.graphs, rows, false)?;
                quickest = quickest.min(started.elapsed());
            }
            self.shared.lock().observe_step(rows, quickest);
        }
        Ok(())
    }

    /// Steps until the scheduler's last handle is dropped.
    pub(super) fn run(mut self) {
        let _end = CloseOnDrop(Arc::clone(&self.shared));
        while self.gather() {
            self.read_sites();
            if self.batch.is_empty() && self.entering.is_empty() {
                continue;
            }
            // `fail` discards the state that a panic leaves.
            let step = catch_unwind(AssertUnwindSafe(|| self.step()));
            match step {
                Ok(Ok(())) => (),
                Ok(Err(error)) => {
                    tracing::error!(%error, "a step failed");
                    let error = Arc::new(error);
                    self.fail(|| SchedulerError::Runtime(Arc::clone(&error)));
                }
                Err(_) => self.fail(|| SchedulerError::Panicked),
            }
        }
    }

    /// Drops and admits chains; waits while there are none. False when the scheduler is closed.
    fn gather(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        self.drop_abandoned(&mut state);
        loop {
            if state.is_closed() {
                return false;
            }
            self.make_room(&mut state);
            let rows = state.fair_share().min(self.capacity);
            self.fill(&mut state, rows);
            self.reading = state.take_unread();
            if self.reading.is_some() || !self.batch.is_empty() || !self.entering.is_empty() {
                break;
            }
            state.show(&shared.metrics);
            state = shared.wait(state);
        }
        state.show(&shared.metrics);
        let others_may = state.may_take();
        drop(state);
        if others_may {
            shared.wake();
        }
        true
    }

    /// Frees the rows of jobs whose callers are gone.
    fn drop_abandoned(&mut self, state: &mut State) {
        for row in (0..self.batch.len()).rev() {
            let Tag { job, priority, .. } = *self.batch.tag(row);
            if !state.is_alive(job) {
                self.batch.remove(row);
                state.release(self.number, priority);
            }
        }
    }

    /// Suspends chains whose rows are another's turn.
    fn make_room(&mut self, state: &mut State) {
        let (mut overflow, mut excess) = state.claims();
        if overflow == 0 {
            return;
        }
        let slice = self.shared.policy.slice_steps(self.graphs.default_steps());
        for row in (0..self.batch.len()).rev() {
            let tag = *self.batch.tag(row);
            let runs = self.batch.runs_left(row);
            let exceeds_share = tag.priority == Priority::Bulk && excess > 0;
            let exceeds_slice = self.batch.stay(row) > slice && overflow > 0;
            if !exceeds_share && !exceeds_slice {
                continue;
            }
            excess -= usize::from(exceeds_share);
            overflow = overflow.saturating_sub(1);
            let (_, suspended) = self.batch.suspend(row);
            self.shared.metrics.suspensions.inc();
            state.suspend(self.number, runs, tag, suspended);
        }
    }

    /// Takes waiting chains until there are so many rows.
    fn fill(&mut self, state: &mut State, rows: usize) {
        while self.batch.len() + self.entering.len() < rows {
            let Some(taken) = state.take(self.number) else {
                break;
            };
            self.entering.push(taken);
        }
    }

    /// Makes the x of all sites of the image that is to be read. One that cannot be read fails alone.
    fn read_sites(&mut self) {
        let Some((id, work)) = self.reading.take() else {
            return;
        };
        let ChainSizes { values, sites, .. } = self.shared.sizes;
        let started = Instant::now();
        // The graph is run on arrays of its own: a panic leaves nothing half done.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let mut x = vec![0.0; sites.unwrap_or(1) * values];
            self.graphs.preprocess(1, &work.job.image, &mut x)?;
            Ok(x)
        }));
        let error = match read {
            Ok(Ok(x)) => {
                work.set_sites(x);
                let took = started.elapsed();
                self.shared
                    .metrics
                    .reading_seconds
                    .observe(took.as_secs_f64());
                self.shared.lock().enqueue_sites(id, took);
                // Rows of others may be free for them.
                self.shared.wake();
                return;
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "an image could not be read");
                SchedulerError::Runtime(Arc::new(error))
            }
            Err(_) => SchedulerError::Panicked,
        };
        let failed = self.shared.lock().fail_unread(id);
        if let Some(job) = failed {
            job.fail(error);
        }
    }

    fn step(&mut self) -> Result<(), RuntimeError> {
        let begun = Instant::now();
        for Dequeued { id, work, chain } in &self.entering {
            batch::push(&mut self.batch, *id, work, chain);
        }
        self.entering.clear();
        self.batch.prepare(&mut self.graphs)?;
        let rows = self.batch.len();
        let padded = self.batch.padded(rows);
        let started = Instant::now();
        self.batch.step(&mut self.graphs, &mut self.finished)?;
        self.shared
            .metrics
            .observe_step(rows, padded, started.elapsed());
        self.device_steps.inc_by(rows as u64);
        let mut state = self.shared.lock();
        // With what it took to let chains in: estimates are of whole requests.
        state.observe_step(padded, begun.elapsed());
        let chains = self.finished.drain(..);
        let jobs = chains.filter_map(|chain| state.finish(self.number, chain));
        let jobs: Vec<_> = jobs.collect();
        // Before the answers: whoever has one finds metrics that no longer count its chains.
        state.show(&self.shared.metrics);
        drop(state);
        for job in jobs {
            job.finish();
        }
        Ok(())
    }

    /// Ends every job that has a row here, which nobody can trust any more. Those that only wait, or
    /// run elsewhere, go on.
    fn fail(&mut self, error: impl Fn() -> SchedulerError) {
        let rows = (0..self.batch.len()).map(|row| self.batch.tag(row).job);
        let entering = self.entering.iter().map(|taken| taken.id);
        let finished = self.finished.iter().map(|finished| finished.tag.job);
        let jobs = rows.chain(entering).chain(finished);
        let failed = self.shared.lock().fail(self.number, jobs);
        self.entering.clear();
        self.finished.clear();
        let buckets = &self.shared.policy.buckets;
        self.batch = Batch::new(self.capacity, buckets, self.graphs.sizes());
        for job in failed {
            job.fail(error());
        }
    }
}

/// Closes the scheduler when a worker ends, so that callers that wait get an error.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}
