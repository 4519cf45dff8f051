//! Jobs whose images have sites and are not read yet: which of them a worker reads next.

use std::collections::VecDeque;

use super::queue::JobId;
use crate::request::Priority;

/// Lines of jobs, one a class, each in the order of arrival.
pub(super) struct Unread {
    bulk_share: f64,
    /// Reads that bulk has earned while both classes waited.
    earned: f64,
    classes: [Class; 2],
}

#[derive(Default)]
struct Class {
    jobs: VecDeque<JobId>,
    chains: usize,
    runs: u64,
}

impl Unread {
    /// `bulk_share` of the reads are bulk's while both classes wait.
    pub(super) fn new(bulk_share: f64) -> Self {
        Self {
            bulk_share,
            earned: 0.0,
            classes: Default::default(),
        }
    }

    /// Adds a job, whose `chains` chains will need `runs` runs of the graph together.
    pub(super) fn push(&mut self, job: JobId, priority: Priority, chains: usize, runs: u64) {
        let class = &mut self.classes[priority as usize];
        class.jobs.push_back(job);
        class.chains += chains;
        class.runs += runs;
    }

    /// Removes and returns the job whose turn it is.
    pub(super) fn pop(&mut self) -> Option<JobId> {
        let [interactive, bulk] = &mut self.classes;
        if interactive.jobs.is_empty() {
            return bulk.jobs.pop_front();
        }
        if !bulk.jobs.is_empty() {
            self.earned += self.bulk_share;
            if self.earned >= 1.0 {
                self.earned -= 1.0;
                return bulk.jobs.pop_front();
            }
        }
        interactive.jobs.pop_front()
    }

    /// Removes a job that has not been read, if it still stands in line.
    pub(super) fn remove(&mut self, job: JobId, priority: Priority) {
        self.classes[priority as usize]
            .jobs
            .retain(|present| *present != job);
    }

    /// A job's chains are counted here no more: they are in the queue, or nobody waits for them.
    pub(super) fn discount(&mut self, priority: Priority, chains: usize, runs: u64) {
        let class = &mut self.classes[priority as usize];
        class.chains -= chains;
        class.runs -= runs;
    }

    /// Whether a job waits.
    pub(super) fn is_empty(&self) -> bool {
        self.classes.iter().all(|class| class.jobs.is_empty())
    }

    /// Whether a job of a class waits.
    pub(super) fn waits(&self, priority: Priority) -> bool {
        !self.classes[priority as usize].jobs.is_empty()
    }

    /// Jobs that wait.
    pub(super) fn len(&self) -> usize {
        self.classes.iter().map(|class| class.jobs.len()).sum()
    }

    /// Chains of a class that are not in the queue yet.
    pub(super) fn chains(&self, priority: Priority) -> usize {
        self.classes[priority as usize].chains
    }

    /// Runs of the graph that these need.
    pub(super) fn runs(&self, priority: Priority) -> u64 {
        self.classes[priority as usize].runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Bulk, Interactive};

    #[test]
    fn bulk_gets_its_share_of_reads_while_both_wait() {
        let mut unread = Unread::new(0.25);
        for job in 0..40 {
            unread.push(job, Interactive, 1, 1);
            unread.push(100 + job, Bulk, 1, 1);
        }
        let first: Vec<_> = (0..40).filter_map(|_| unread.pop()).collect();
        assert_eq!(first.iter().filter(|job| **job >= 100).count(), 10);
        let own = |bulk: bool| first.iter().filter(move |job| (**job >= 100) == bulk);
        assert!(own(true).is_sorted() && own(false).is_sorted(), "in order");
        while unread.pop().is_some() {}
        assert!(unread.is_empty());
    }

    #[test]
    fn a_job_that_is_removed_is_not_read() {
        let mut unread = Unread::new(0.25);
        unread.push(1, Interactive, 1, 1);
        unread.push(2, Interactive, 1, 1);
        unread.remove(1, Interactive);
        assert_eq!((unread.pop(), unread.pop()), (Some(2), None));
    }
}
