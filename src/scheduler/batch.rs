//! What a worker knows of the chains in its batch.

use lfbm_runtime::{Chain, EndedChain, Suspended};

use super::queue::JobId;
use super::state::Work;
use crate::request::Priority;

/// Whose chain a row is.
#[derive(Clone, Copy)]
pub(super) struct Tag {
    pub(super) job: JobId,
    pub(super) priority: Priority,
    /// Which of the job's chains it is: those of its first site, then those of the next.
    pub(super) index: u32,
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
    Suspended(u32, Suspended),
}

/// Adds a chain of a job; the batch must not be full.
pub(super) fn push(batch: &mut Batch, id: JobId, work: &Work, chain: &QueuedChain) {
    let (index, suspended) = match chain {
        QueuedChain::New(index) => (*index, None),
        QueuedChain::Suspended(index, suspended) => (*index, Some(suspended)),
    };
    let job = &work.job;
    let tag = Tag {
        job: id,
        priority: job.priority,
        index,
    };
    let chains = job.langevin.chains;
    let (site, number) = (index / chains, index % chains);
    let chain = Chain {
        input: work.input(site),
        mask: job.mask.as_deref(),
        langevin: job.langevin,
        seed: job.seed,
        site,
        number,
        // x is the same for all chains of an image, and that of sites is known already.
        keep_x: index == 0 && work.sites.is_none(),
        reconstruct: job.reconstruct,
    };
    batch.push(tag, chain, suspended);
}
