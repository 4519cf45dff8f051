//! A scheduler that runs, and what is submitted to it.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use lfbm_bundle::manifest::{Aggregation, Langevin, Manifest};
use lfbm_runtime::{Device, Devices, Placement, SessionOptions};
use rustix::thread::CpuSet;
use tokio::task::JoinHandle;

use super::arithmetic::{Arithmetic, PANICS};
use crate::admission::{Room, Work};
use crate::request::Priority;
use crate::scheduler::{Inferred, Job, Policy, Scheduler, SchedulerError, StartError};
use crate::telemetry::{Metrics, ModelMetrics, Registration};

pub(super) struct Running {
    pub(super) scheduler: Scheduler,
    pub(super) rows: Arc<Mutex<Vec<(usize, usize)>>>,
    pub(super) recorded: Arc<Mutex<HashMap<ThreadId, Vec<usize>>>>,
    pub(super) cpus: Arc<Mutex<HashMap<usize, CpuSet>>>,
    pub(super) dies: Arc<AtomicBool>,
    pub(super) metrics: ModelMetrics,
    pub(super) room: Room,
    _registration: Registration,
}

impl Running {
    pub(super) fn start(policy: Policy) -> Self {
        Self::start_workers(1, policy)
    }

    pub(super) fn start_workers(workers: usize, policy: Policy) -> Self {
        Self::try_start_workers(workers, policy).unwrap()
    }

    pub(super) fn try_start_workers(workers: usize, policy: Policy) -> Result<Self, StartError> {
        Self::try_start_with(None, vec![Placement::new(Device::Cpu, 1); workers], policy)
    }

    /// Workers of a model whose images have so many sites.
    pub(super) fn start_with_sites(sites: usize, workers: usize, policy: Policy) -> Self {
        Self::try_start_with(
            Some(sites),
            vec![Placement::new(Device::Cpu, 1); workers],
            policy,
        )
        .unwrap()
    }

    /// A worker for each of these, which have a thread each.
    pub(super) fn start_at(placements: Vec<Placement>, policy: Policy) -> Self {
        Self::try_start_with(None, placements, policy).unwrap()
    }

    fn try_start_with(
        sites: Option<usize>,
        placements: Vec<Placement>,
        policy: Policy,
    ) -> Result<Self, StartError> {
        let manifest = include_str!("../../../models/mnist-not4/manifest.json");
        let manifest: Manifest = serde_json::from_str(manifest).unwrap();
        let (metrics, devices) = (Metrics::new(10, "test").unwrap(), Devices::default());
        let (metrics, registration) = metrics
            .model_metrics(&manifest, &devices, &devices, &SessionOptions::default())
            .unwrap();
        let rows = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::default();
        let cpus = Arc::default();
        let dies = Arc::new(AtomicBool::new(false));
        let placed = placements.into_iter().enumerate();
        let graphs = placed.map(|(worker, placement)| Arithmetic {
            worker,
            placement,
            sites,
            cpus: Arc::clone(&cpus),
            rows: Arc::clone(&rows),
            recorded: Arc::clone(&recorded),
            dies: Arc::clone(&dies),
        });
        let scheduler = Scheduler::start_with("test", graphs.collect(), policy, metrics.clone())?;
        // What the warm-up ran.
        rows.lock().unwrap().clear();
        Ok(Self {
            scheduler,
            rows,
            recorded,
            cpus,
            dies,
            metrics,
            room: Room::new(Work::Chains, 4096, Duration::from_secs(60)),
            _registration: registration,
        })
    }

    /// Rows of each step so far.
    pub(super) fn rows(&self) -> Vec<usize> {
        let rows = self.rows.lock().unwrap();
        rows.iter().map(|(_, rows)| *rows).collect()
    }

    /// The most rows that each worker has had in a step.
    pub(super) fn fullest(&self, workers: usize) -> Vec<usize> {
        let mut most = vec![0; workers];
        for (worker, rows) in self.rows.lock().unwrap().iter() {
            most[*worker] = most[*worker].max(*rows);
        }
        most
    }

    pub(super) fn job(&self, priority: Priority, chains: u32, steps: u32) -> Job {
        Job {
            image: vec![0.5, 1.0],
            mask: None,
            langevin: Langevin {
                steps,
                step_size: 0.1,
                noise_free_steps: steps / 4,
                chains,
                aggregation: Aggregation::Mean,
            },
            seed: u64::from(steps),
            priority,
            deadline: None,
            expected: None,
            reconstruct: false,
            permit: self.room.admit(chains, None, None).unwrap(),
        }
    }

    pub(super) fn submit(&self, job: Job) -> JoinHandle<Result<Inferred, SchedulerError>> {
        let scheduler = self.scheduler.clone();
        tokio::spawn(async move { scheduler.infer(job).await })
    }

    /// Runs a job that panics.
    pub(super) async fn panic(&self) {
        let mut bad = self.job(Priority::Interactive, 1, 20);
        bad.image[0] = PANICS;
        let bad = self.submit(bad);
        assert!(matches!(bad.await.unwrap(), Err(SchedulerError::Panicked)));
    }

    pub(super) async fn until_running(&self, chains: i64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.metrics.chains_running.get() != chains {
            assert!(Instant::now() < deadline, "{chains} chains do not run");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(super) fn policy(capacity: usize) -> Policy {
    Policy {
        capacity,
        bulk_share: 0.25,
        buckets: Vec::new(),
        background: false,
    }
}

pub(super) fn scores(inferred: &Inferred) -> Vec<f64> {
    inferred
        .chains
        .iter()
        .map(|chain| chain.log_prior)
        .collect()
}
