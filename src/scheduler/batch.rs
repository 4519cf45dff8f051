//! What a worker knows of the chains in its batch.

use lfbm_runtime::{Chain, EndedChain, Suspended};

use super::Job;
use super::queue::JobId;
use crate::request::Priority;

/// Whose chain a row is.
#[derive(Clone, Copy)]
pub(super) struct Tag {
    pub(super) job: JobId,
    pub(super) priority: Priority,
}

/// The chains of a worker.
pub(super) type Batch = lfbm_runtime::ChainBatch<Tag>;
/// A chain that has taken its last step.
pub(super) type Finished = EndedChain<Tag>;

/// A chain that waits for a row.
pub(super) enum QueuedChain {
    /// The job's chain of that number, which has not begun.
    New(u32),
    /// One that continues.
    Suspended(Suspended),
}

/// Adds a chain of a job; the batch must not be full.
pub(super) fn push(batch: &mut Batch, id: JobId, job: &Job, chain: &QueuedChain) {
    let (number, suspended) = match chain {
        QueuedChain::New(number) => (*number, None),
        QueuedChain::Suspended(suspended) => (suspended.number, Some(suspended)),
    };
    let tag = Tag {
        job: id,
        priority: job.priority,
    };
    let chain = Chain {
        image: &job.image,
        mask: job.mask.as_deref(),
        langevin: job.langevin,
        seed: job.seed,
        number,
        // x is the same for all chains of an image.
        keep_x: number == 0,
        reconstruct: job.reconstruct,
    };
    batch.push(tag, chain, suspended);
}
