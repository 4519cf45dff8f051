//! The queueing discipline: which job gets the next row.
//!
//! *Between classes.* While both wait, bulk gets the next row as long as it holds fewer rows than
//! its share of them; beyond that, interactive chains go first. While only one
//! class waits, it may take every row. So bulk has its share whenever it wants it, and
//! [`Queue::excess`] says how many rows it holds beyond that while interactive chains wait: those
//! are to be given back.
//!
//! *Within a class.* Jobs take turns, one chain at a time: a job of many chains fills what others
//! leave, and a job of one chain waits for at most one chain of every other job.

use std::collections::{BTreeMap, HashMap};

use crate::request::Priority;

/// A job's number; a later job has a higher one.
pub(super) type JobId = u64;

pub(super) const CLASSES: [Priority; 2] = [Priority::Interactive, Priority::Bulk];

pub(super) struct Queue {
    capacity: usize,
    /// Rows that are bulk's while both classes wait.
    bulk_rows: usize,
    classes: [Class; CLASSES.len()],
    jobs: HashMap<JobId, Waiting>,
    next_turn: u64,
}

#[derive(Default)]
struct Class {
    /// Jobs with waiting chains, in the order of their turns.
    turns: BTreeMap<u64, JobId>,
    chains: usize,
    runs: u64,
    rows: usize,
}

/// Chains of a job that wait.
struct Waiting {
    priority: Priority,
    turn: u64,
    chains: u32,
    /// Runs of the graph that they need, together.
    runs: u64,
}

impl Queue {
    /// For `capacity` rows, of which `bulk_share` are bulk's while both classes wait; at
    /// least one row is left to each class if there are two.
    pub(super) fn new(capacity: usize, bulk_share: f64) -> Self {
        Self {
            capacity,
            bulk_rows: bulk_rows(capacity, bulk_share),
            classes: Default::default(),
            jobs: HashMap::new(),
            next_turn: 0,
        }
    }

    /// Adds chains of a job, each of which needs `runs` runs of the graph. A job that has none
    /// waiting goes to the end of the line.
    pub(super) fn push(&mut self, job: JobId, priority: Priority, chains: u32, runs: u64) {
        let class = &mut self.classes[priority as usize];
        let waiting = self.jobs.entry(job).or_insert_with(|| {
            self.next_turn += 1;
            class.turns.insert(self.next_turn, job);
            Waiting {
                priority,
                turn: self.next_turn,
                chains: 0,
                runs: 0,
            }
        });
        waiting.chains += chains;
        waiting.runs += u64::from(chains) * runs;
        class.chains += chains as usize;
        class.runs += u64::from(chains) * runs;
    }

    /// Gives a free row to the job whose turn it is; `None` if all are taken or nobody waits.
    pub(super) fn take(&mut self) -> Option<JobId> {
        if self.rows() == self.capacity {
            return None;
        }
        let [interactive, bulk] = &mut self.classes;
        let bulk_first = bulk.rows < self.bulk_rows || interactive.chains == 0;
        let class = if bulk_first && bulk.chains > 0 {
            bulk
        } else {
            interactive
        };
        let (_, job) = class.turns.pop_first()?;
        let waiting = self.jobs.get_mut(&job)?;
        let runs = waiting.runs / u64::from(waiting.chains);
        waiting.chains -= 1;
        waiting.runs -= runs;
        class.chains -= 1;
        class.runs -= runs;
        class.rows += 1;
        if waiting.chains == 0 {
            self.jobs.remove(&job);
        } else {
            self.next_turn += 1;
            waiting.turn = self.next_turn;
            class.turns.insert(self.next_turn, job);
        }
        Some(job)
    }

    /// A chain has left its row.
    pub(super) fn release(&mut self, priority: Priority) {
        self.classes[priority as usize].rows -= 1;
    }

    /// Forgets the waiting chains of a job.
    pub(super) fn remove(&mut self, job: JobId) {
        if let Some(waiting) = self.jobs.remove(&job) {
            let class = &mut self.classes[waiting.priority as usize];
            class.turns.remove(&waiting.turn);
            class.chains -= waiting.chains as usize;
            class.runs -= waiting.runs;
        }
    }

    /// Rows that bulk holds beyond its share while interactive chains wait for one.
    pub(super) fn excess(&self) -> usize {
        let [interactive, bulk] = &self.classes;
        let free = self.capacity - self.rows();
        let beyond = bulk.rows.saturating_sub(self.bulk_rows);
        beyond.min(interactive.chains.saturating_sub(free))
    }

    /// Whether a row is free that no chain waits for.
    pub(super) fn has_free_rows(&self) -> bool {
        self.rows() + self.waiting() < self.capacity
    }

    /// Chains that no row is free for.
    pub(super) fn overflow(&self) -> usize {
        let free = self.capacity - self.rows();
        self.waiting().saturating_sub(free)
    }

    /// Chains that wait.
    pub(super) fn waiting(&self) -> usize {
        self.classes.iter().map(|class| class.chains).sum()
    }

    /// Chains of a class that wait.
    pub(super) fn chains(&self, priority: Priority) -> usize {
        self.classes[priority as usize].chains
    }

    /// Runs of the graph that the waiting chains of a class need.
    pub(super) fn runs(&self, priority: Priority) -> u64 {
        self.classes[priority as usize].runs
    }

    /// Rows in use.
    pub(super) fn rows(&self) -> usize {
        self.classes.iter().map(|class| class.rows).sum()
    }
}

/// Rows that are bulk's while both classes wait.
pub(super) fn bulk_rows(capacity: usize, bulk_share: f64) -> usize {
    let rows = (capacity as f64 * bulk_share).round() as usize;
    rows.clamp(1, (capacity - 1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{Bulk, Interactive};

    /// A job's rows, first in first out, as a batch of equal chains frees them.
    struct Batch {
        queue: Queue,
        rows: std::collections::VecDeque<(JobId, Priority)>,
        priority: HashMap<JobId, Priority>,
    }

    impl Batch {
        fn new(capacity: usize, bulk_share: f64) -> Self {
            Self {
                queue: Queue::new(capacity, bulk_share),
                rows: Default::default(),
                priority: HashMap::new(),
            }
        }

        fn push(&mut self, job: JobId, priority: Priority, chains: u32) {
            self.priority.insert(job, priority);
            self.queue.push(job, priority, chains, 21);
        }

        fn fill(&mut self) -> Vec<JobId> {
            let mut entered = Vec::new();
            while let Some(job) = self.queue.take() {
                self.rows.push_back((job, self.priority[&job]));
                entered.push(job);
            }
            entered
        }

        fn end(&mut self, rows: usize) {
            for _ in 0..rows {
                let (_, priority) = self.rows.pop_front().unwrap();
                self.queue.release(priority);
            }
        }

        fn held(&self, priority: Priority) -> usize {
            self.rows.iter().filter(|row| row.1 == priority).count()
        }
    }

    #[test]
    fn a_class_alone_takes_every_row() {
        for priority in CLASSES {
            let mut batch = Batch::new(4, 0.25);
            batch.push(0, priority, 9);
            assert_eq!(batch.fill(), [0; 4]);
            assert_eq!((batch.queue.waiting(), batch.queue.excess()), (5, 0));
        }
    }

    #[test]
    fn bulk_holds_its_share_while_both_wait_whoever_came_first() {
        for first in CLASSES {
            let mut batch = Batch::new(16, 0.25);
            let second = if first == Bulk { Interactive } else { Bulk };
            batch.push(0, first, 1000);
            batch.push(1, second, 1000);
            batch.fill();
            for _ in 0..100 {
                assert_eq!((batch.held(Bulk), batch.held(Interactive)), (4, 12));
                batch.end(3);
                batch.fill();
            }
        }
    }

    #[test]
    fn bulk_owes_what_it_holds_beyond_its_share_as_far_as_somebody_waits_for_it() {
        let mut batch = Batch::new(8, 0.25);
        batch.push(0, Bulk, 100);
        batch.fill();
        batch.push(1, Interactive, 3);
        assert_eq!(batch.queue.excess(), 3);
        batch.end(1);
        assert_eq!(batch.queue.excess(), 2);
        batch.push(2, Interactive, 100);
        assert_eq!(batch.queue.excess(), 5);
    }

    #[test]
    fn bulk_gets_its_share_back_under_a_flood_of_interactive_requests() {
        let mut batch = Batch::new(8, 0.25);
        batch.push(0, Interactive, 1_000_000);
        batch.fill();
        batch.push(1, Bulk, 10);
        batch.end(2);
        assert_eq!(batch.fill(), [1, 1]);
    }

    #[test]
    fn jobs_of_a_class_take_turns() {
        let mut batch = Batch::new(4, 0.25);
        batch.push(0, Interactive, 64);
        assert_eq!(batch.fill(), [0; 4]);
        batch.push(1, Interactive, 1);
        batch.push(2, Interactive, 2);
        batch.end(4);
        assert_eq!(batch.fill(), [0, 1, 2, 0]);
        batch.end(4);
        assert_eq!(batch.fill(), [2, 0, 0, 0]);
    }

    #[test]
    fn one_row_of_two_is_left_to_each_class() {
        for (share, expected) in [(0.0, 1), (1.0, 1)] {
            assert_eq!(bulk_rows(2, share), expected);
        }
        assert_eq!(bulk_rows(64, 0.25), 16);
        assert_eq!(bulk_rows(64, 1.0), 63);
    }

    /// Whatever happens in whatever order, chains and runs are neither lost nor made.
    #[test]
    fn counts_hold_through_any_sequence() {
        use rand::{RngExt, SeedableRng};
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        for _ in 0..200 {
            let capacity = rng.random_range(1..9);
            let mut batch = Batch::new(capacity, 0.25);
            let mut waiting: HashMap<JobId, u32> = HashMap::new();
            for job in 0..60 {
                match rng.random_range(0..4) {
                    0 | 1 => {
                        let chains = rng.random_range(1..6);
                        batch.push(job, CLASSES[job as usize % 2], chains);
                        waiting.insert(job, chains);
                    }
                    2 => {
                        for job in batch.fill() {
                            *waiting.get_mut(&job).unwrap() -= 1;
                        }
                        let total: u32 = waiting.values().sum();
                        assert!(batch.rows.len() == capacity || total == 0);
                        let ended = rng.random_range(0..=batch.rows.len());
                        batch.end(ended);
                    }
                    _ => {
                        let victim = rng.random_range(0..=job);
                        batch.queue.remove(victim);
                        waiting.remove(&victim);
                    }
                }
                let total: u32 = waiting.values().sum();
                assert_eq!(batch.queue.waiting(), total as usize);
                let runs: u64 = CLASSES.iter().map(|class| batch.queue.runs(*class)).sum();
                assert_eq!(runs, 21 * u64::from(total));
            }
        }
    }
}
