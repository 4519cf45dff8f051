//! The thread that takes the steps.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use lfbm_bundle::runtime::RuntimeError;
use tokio::sync::mpsc::UnboundedReceiver;

use super::batch::{Batch, Entrant, Finished, JobId};
use super::{Engine, Inferred, Job, Reply, SchedulerError, Submission};
use crate::telemetry::ModelMetrics;

/// A job of which at least one chain runs or has run.
struct Running {
    reply: Reply,
    job: Job,
    /// The preprocessed image.
    x: Vec<f32>,
    admitted: Instant,
    started: Instant,
    /// Chains that have entered the batch.
    entered: u32,
    /// Chains that have left it at their end.
    finished: Vec<Option<Finished>>,
}

struct Worker<'a> {
    engine: Engine,
    batch: Batch,
    waiting: VecDeque<Submission>,
    running: HashMap<JobId, Running>,
    /// Jobs of which chains have yet to enter, first come first.
    entering: VecDeque<JobId>,
    next_id: JobId,
    metrics: &'a ModelMetrics,
}

/// Works until every [`Scheduler`](super::Scheduler) is dropped and nothing is left to do.
pub(super) fn run(
    engine: Engine,
    batch: Batch,
    mut submissions: UnboundedReceiver<Submission>,
    metrics: &ModelMetrics,
) {
    let mut worker = Worker {
        engine,
        batch,
        waiting: VecDeque::new(),
        running: HashMap::new(),
        entering: VecDeque::new(),
        next_id: 0,
        metrics,
    };
    loop {
        if worker.is_idle() {
            worker.report();
            match submissions.blocking_recv() {
                Some(submission) => worker.waiting.push_back(submission),
                None => return,
            }
        }
        while let Ok(submission) = submissions.try_recv() {
            worker.waiting.push_back(submission);
        }
        worker.release_abandoned();
        worker.admit();
        worker.report();
        worker.step();
    }
}

impl Worker<'_> {
    fn is_idle(&self) -> bool {
        self.batch.is_empty() && self.waiting.is_empty() && self.entering.is_empty()
    }

    fn report(&self) {
        let entering = self.entering.iter().filter_map(|id| self.running.get(id));
        let waiting: u32 = self
            .waiting
            .iter()
            .map(|submission| submission.job.langevin.chains)
            .chain(entering.map(|running| running.job.langevin.chains - running.entered))
            .sum();
        self.metrics.chains_waiting.set(waiting.into());
        self.metrics.chains_running.set(self.batch.len() as i64);
    }

    /// A caller that stopped waiting, by a cancellation or a deadline, has dropped its end.
    fn release_abandoned(&mut self) {
        self.waiting.retain(|waiting| !waiting.reply.is_closed());
        let before = self.running.len();
        self.running.retain(|_, running| !running.reply.is_closed());
        if self.running.len() < before {
            let running = &self.running;
            self.batch.retain(|id| running.contains_key(&id));
            self.entering.retain(|id| running.contains_key(id));
        }
    }

    /// Fills the batch, first come first.
    fn admit(&mut self) {
        loop {
            while let Some(id) = self.entering.front() {
                let Some(running) = self.running.get_mut(id) else {
                    self.entering.pop_front();
                    continue;
                };
                let langevin = running.job.langevin;
                while running.entered < langevin.chains {
                    if self.batch.is_full() {
                        return;
                    }
                    let chain = running.entered;
                    self.batch.push(Entrant {
                        job: *id,
                        chain,
                        x: &running.x,
                        mask: running.job.mask.as_deref(),
                        langevin,
                        seed: running.job.seed,
                        reconstruct: running.job.reconstruct,
                    });
                    running.entered += 1;
                }
                self.entering.pop_front();
            }
            if self.batch.is_full() {
                return;
            }
            let Some(submission) = self.waiting.pop_front() else {
                return;
            };
            self.start(submission);
        }
    }

    fn start(&mut self, submission: Submission) {
        let Submission {
            mut job,
            reply,
            admitted,
        } = submission;
        if let Some(mask) = &job.mask {
            // Contrast is a matter of every pixel.
            for channel in job.image.chunks_mut(mask.len()) {
                for (value, visible) in channel.iter_mut().zip(mask) {
                    *value *= visible;
                }
            }
        }
        let mut x = vec![0.0; self.engine.pixels];
        if let Err(error) = self.engine.preprocess.run(1, &job.image, &mut x) {
            // A caller that is gone needs no answer.
            let _ = reply.send(Err(SchedulerError::Runtime(Arc::new(error))));
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let finished = std::iter::repeat_with(|| None)
            .take(job.langevin.chains as usize)
            .collect();
        self.entering.push_back(id);
        self.running.insert(
            id,
            Running {
                reply,
                job,
                x,
                admitted,
                started: Instant::now(),
                entered: 0,
                finished,
            },
        );
    }

    fn step(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.metrics.observe_step(self.batch.len());
        let mut ended = Vec::new();
        let running = &mut self.running;
        let result = self.batch.step(&mut self.engine.posterior, |finished| {
            let id = finished.job;
            if let Some(job) = running.get_mut(&id) {
                if let Some(chain) = job.finished.get_mut(finished.chain as usize) {
                    *chain = Some(finished);
                }
                if job.finished.iter().all(Option::is_some) {
                    ended.push(id);
                }
            }
        });
        for id in ended {
            if let Some(running) = self.running.remove(&id) {
                running.finish();
            }
        }
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// Nothing in the batch can be trusted any more.
    fn fail(&mut self, error: RuntimeError) {
        tracing::error!(%error, "a posterior step failed");
        let error = Arc::new(error);
        for (_, running) in self.running.drain() {
            let error = SchedulerError::Runtime(Arc::clone(&error));
            let _ = running.reply.send(Err(error));
        }
        self.entering.clear();
        self.batch.retain(|_| false);
    }
}

impl Running {
    fn finish(self) {
        let mut chains = Vec::with_capacity(self.finished.len());
        let mut reconstructions = Vec::new();
        for finished in self.finished.into_iter().flatten() {
            chains.push(finished.score);
            reconstructions.extend(finished.reconstruction);
        }
        let inferred = Inferred {
            chains,
            reconstructions,
            x: self.x,
            queue_time: self.started - self.admitted,
            compute_time: self.started.elapsed(),
        };
        // Room first: a client that sends its next request on this answer finds it.
        drop(self.job);
        let _ = self.reply.send(Ok(inferred));
    }
}
