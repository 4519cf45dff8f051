//! What a lane knows of the chains in its batch.

use lfbm_runtime::{Chain, EndedChain, Suspended};

use super::Job;
use super::queue::JobId;
use crate::admission::Priority;

/// Whose chain a row is.
#[derive(Clone, Copy)]
pub(super) struct Tag {
    pub(super) job: JobId,
    pub(super) priority: Priority,
}

/// The chains of a lane.
pub(super) type Batch = lfbm_runtime::ChainBatch<Tag>;
/// A chain that has taken its last step.
pub(super) type Finished = EndedChain<Tag>;

/// A chain that enters the batch.
pub(super) enum Entrant {
    /// The job's chain of that number, at its start.
    New(u32),
    /// One that goes on.
    Suspended(Suspended),
}

/// Adds a chain of a job; the batch must not be full.
pub(super) fn push(batch: &mut Batch, id: JobId, job: &Job, entrant: &Entrant) {
    let (number, suspended) = match entrant {
        Entrant::New(number) => (*number, None),
        Entrant::Suspended(suspended) => (suspended.number, Some(suspended)),
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
