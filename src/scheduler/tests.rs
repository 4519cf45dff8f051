//! The scheduler with graphs of arithmetic, so that they can be slow, fail and panic.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use lfbm_bundle::manifest::{Aggregation, Langevin, Manifest};
use lfbm_runtime::{
    ChainModel, ChainNoise, ChainSizes, Device, RuntimeError, SessionOptions, StepInputs,
    StepOutputs,
};
use tokio::task::JoinHandle;

use super::graphs::Graphs;
use super::{Inferred, Job, Policy, Scheduler, SchedulerError, StartError};
use crate::admission::{Room, Work};
use crate::request::Priority;
use crate::telemetry::{Metrics, ModelMetrics, Registration};

const SIZES: ChainSizes = ChainSizes {
    values: 2,
    positions: 2,
    latent_dim: 3,
    sites: None,
};
/// First values of images that graphs do not bear.
const PANICS: f32 = 0.25;
const FAILS: f32 = 0.75;
/// A second value of images whose sites cannot be read.
const UNREADABLE: f32 = 0.375;
/// A batch size that graphs cannot record.
const UNRECORDABLE: usize = 7;
const STEP: Duration = Duration::from_micros(200);

/// Chains start at the noise plus x0; z -> 0.9 z + s noise + x0, densities of their own, rows of a
/// step in `rows`, with the number of their worker.
struct Arithmetic {
    worker: usize,
    /// Sites of an image, if it has any; site i has the values of the image plus i.
    sites: Option<usize>,
    rows: Arc<Mutex<Vec<(usize, usize)>>>,
    /// What each thread recorded, and that it stepped at all.
    recorded: Arc<Mutex<HashMap<ThreadId, Vec<usize>>>>,
    /// A worker that asks for its default steps panics, which is where nothing catches it.
    dies: Arc<AtomicBool>,
}

impl ChainModel for Arithmetic {
    fn preprocess(
        &mut self,
        rows: usize,
        images: &[f32],
        x: &mut [f32],
    ) -> Result<(), RuntimeError> {
        assert_eq!(images.len(), rows * SIZES.values);
        let Some(sites) = self.sites else {
            x.copy_from_slice(images);
            return Ok(());
        };
        assert_eq!((rows, x.len()), (1, sites * SIZES.values));
        if images[1] == UNREADABLE {
            return Err(RuntimeError::Length {
                graph: "test",
                what: "image",
                got: 0,
                expected: 1,
            });
        }
        for (site, x) in x.chunks_mut(SIZES.values).enumerate() {
            for (x, value) in x.iter_mut().zip(images) {
                *x = value + site as f32;
            }
        }
        Ok(())
    }

    fn draw_start(&self, noise: &ChainNoise, values: &mut [f32]) {
        noise.initial(values);
    }

    fn start(
        &mut self,
        rows: usize,
        x: &[f32],
        noise: &[f32],
        z: &mut [f32],
    ) -> Result<(), RuntimeError> {
        let d = SIZES.latent_dim;
        assert_eq!((x.len(), z.len()), (rows * SIZES.values, rows * d));
        for (index, (z, noise)) in z.iter_mut().zip(noise).enumerate() {
            *z = noise + x[index / d * SIZES.values];
        }
        Ok(())
    }

    fn step(
        &mut self,
        rows: usize,
        inputs: StepInputs<'_>,
        outputs: StepOutputs<'_>,
    ) -> Result<(), RuntimeError> {
        self.rows.lock().unwrap().push((self.worker, rows));
        let thread = thread::current().id();
        self.recorded.lock().unwrap().entry(thread).or_default();
        thread::sleep(STEP);
        let d = SIZES.latent_dim;
        for row in 0..rows {
            let x = &inputs.x[row * SIZES.values..][..SIZES.values];
            assert_ne!(x[0], PANICS, "a panic that the test asked for");
            if x[0] == FAILS {
                return Err(RuntimeError::Length {
                    graph: "test",
                    what: "x",
                    got: 0,
                    expected: 1,
                });
            }
            let scale = inputs.step_size[row] * inputs.noise_scale[row];
            let mut squares = 0.0;
            for i in row * d..(row + 1) * d {
                outputs.z_next[i] = 0.9 * inputs.z[i] + scale * inputs.noise[i] + 0.01 * x[0];
                squares += inputs.z[i] * inputs.z[i];
            }
            outputs.log_prior[row] = -squares;
            outputs.log_likelihood[row] = x.iter().sum();
        }
        if let Some(reconstruction) = outputs.reconstruction {
            let firsts = inputs.z.chunks(d).map(|z| z[0]);
            for (image, first) in reconstruction.chunks_mut(SIZES.values).zip(firsts) {
                image.fill(first);
            }
        }
        Ok(())
    }
}

impl Graphs for Arithmetic {
    fn sizes(&self) -> ChainSizes {
        ChainSizes {
            sites: self.sites,
            ..SIZES
        }
    }

    fn default_steps(&self) -> u32 {
        let dies = self.dies.load(Ordering::Relaxed);
        assert!(!dies, "a panic that the test asked for");
        20
    }

    fn record(&mut self, rows: usize) -> Result<(), RuntimeError> {
        let thread = thread::current().id();
        let mut recorded = self.recorded.lock().unwrap();
        recorded.entry(thread).or_default().push(rows);
        if rows == UNRECORDABLE {
            return Err(RuntimeError::CudaGraph {
                rows,
                what: "z_next",
            });
        }
        Ok(())
    }
}

struct Running {
    scheduler: Scheduler,
    rows: Arc<Mutex<Vec<(usize, usize)>>>,
    recorded: Arc<Mutex<HashMap<ThreadId, Vec<usize>>>>,
    dies: Arc<AtomicBool>,
    metrics: ModelMetrics,
    room: Room,
    _registration: Registration,
}

impl Running {
    fn start(policy: Policy) -> Self {
        Self::start_workers(1, policy)
    }

    fn start_workers(workers: usize, policy: Policy) -> Self {
        Self::try_start_workers(workers, policy).unwrap()
    }

    fn try_start_workers(workers: usize, policy: Policy) -> Result<Self, StartError> {
        Self::try_start_with(None, workers, policy)
    }

    /// Workers of a model whose images have so many sites.
    fn start_with_sites(sites: usize, workers: usize, policy: Policy) -> Self {
        Self::try_start_with(Some(sites), workers, policy).unwrap()
    }

    fn try_start_with(
        sites: Option<usize>,
        workers: usize,
        policy: Policy,
    ) -> Result<Self, StartError> {
        let manifest = include_str!("../../models/mnist-not4/manifest.json");
        let manifest: Manifest = serde_json::from_str(manifest).unwrap();
        let metrics = Metrics::new(10, "test").unwrap();
        let (metrics, registration) = metrics
            .model_metrics(&manifest, Device::Cpu, &SessionOptions::default())
            .unwrap();
        let rows = Arc::new(Mutex::new(Vec::new()));
        let recorded = Arc::default();
        let dies = Arc::new(AtomicBool::new(false));
        let graphs = (0..workers).map(|worker| Arithmetic {
            worker,
            sites,
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
            dies,
            metrics,
            room: Room::new(Work::Chains, 4096, Duration::from_secs(60)),
            _registration: registration,
        })
    }

    /// Rows of each step so far.
    fn rows(&self) -> Vec<usize> {
        let rows = self.rows.lock().unwrap();
        rows.iter().map(|(_, rows)| *rows).collect()
    }

    /// The most rows that each worker has had in a step.
    fn fullest(&self, workers: usize) -> Vec<usize> {
        let mut most = vec![0; workers];
        for (worker, rows) in self.rows.lock().unwrap().iter() {
            most[*worker] = most[*worker].max(*rows);
        }
        most
    }

    fn job(&self, priority: Priority, chains: u32, steps: u32) -> Job {
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

    fn submit(&self, job: Job) -> JoinHandle<Result<Inferred, SchedulerError>> {
        let scheduler = self.scheduler.clone();
        tokio::spawn(async move { scheduler.infer(job).await })
    }

    /// Runs a job that panics.
    async fn panic(&self) {
        let mut bad = self.job(Priority::Interactive, 1, 20);
        bad.image[0] = PANICS;
        let bad = self.submit(bad);
        assert!(matches!(bad.await.unwrap(), Err(SchedulerError::Panicked)));
    }

    async fn until_running(&self, chains: i64) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while self.metrics.chains_running.get() != chains {
            assert!(Instant::now() < deadline, "{chains} chains do not run");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn policy(capacity: usize) -> Policy {
    Policy {
        capacity,
        bulk_share: 0.25,
        buckets: Vec::new(),
    }
}

fn scores(inferred: &Inferred) -> Vec<f64> {
    inferred
        .chains
        .iter()
        .map(|chain| chain.log_prior)
        .collect()
}

#[tokio::test]
async fn bulk_makes_room_and_ends_as_if_it_had_not() {
    let running = Running::start(policy(4));
    let bulk = || running.job(Priority::Bulk, 4, 4000);
    let alone = running.scheduler.infer(bulk()).await.unwrap();
    let among = running.submit(bulk());
    running.until_running(4).await;
    for _ in 0..3 {
        let quick = running.job(Priority::Interactive, 8, 30);
        running.scheduler.infer(quick).await.unwrap();
    }
    assert!(!among.is_finished(), "interactive chains waited for bulk");
    let among = among.await.unwrap().unwrap();
    assert_eq!(scores(&alone), scores(&among));
    assert!(running.metrics.suspensions.get() > 0);
}

#[tokio::test]
async fn a_job_of_many_long_chains_keeps_no_other_waiting() {
    let running = Running::start(policy(4));
    let long = || running.job(Priority::Interactive, 16, 500);
    let alone = running.scheduler.infer(long()).await.unwrap();
    let among = running.submit(long());
    running.until_running(4).await;
    let quick = running.job(Priority::Interactive, 1, 5);
    running.scheduler.infer(quick).await.unwrap();
    assert!(!among.is_finished(), "one chain waited for 16");
    assert_eq!(scores(&alone), scores(&among.await.unwrap().unwrap()));
}

#[tokio::test]
async fn a_panic_ends_what_is_in_the_batch_and_nothing_else() {
    let running = Running::start(policy(2));
    let long = running.submit(running.job(Priority::Interactive, 1, 100_000));
    running.until_running(1).await;
    running.panic().await;
    assert!(matches!(long.await.unwrap(), Err(SchedulerError::Panicked)));
    let next = running.job(Priority::Interactive, 3, 20);
    assert_eq!(running.scheduler.infer(next).await.unwrap().chains.len(), 3);
    assert!(running.scheduler.is_alive());
}

#[tokio::test]
async fn waiting_jobs_outlive_a_failed_step() {
    let running = Running::start(policy(2));
    let mut jobs = Vec::new();
    for index in 0..6 {
        let mut job = running.job(Priority::Bulk, 1, 20);
        if index == 1 {
            job.image[0] = FAILS;
        }
        jobs.push(running.submit(job));
    }
    let mut failed = 0;
    for job in jobs {
        match job.await.unwrap() {
            Ok(inferred) => assert_eq!(inferred.chains.len(), 1),
            Err(SchedulerError::Runtime(_)) => failed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!((1..=2).contains(&failed), "{failed}");
}

#[tokio::test]
async fn batches_are_padded_to_the_next_bucket() {
    let running = Running::start(Policy {
        buckets: vec![3, 8],
        ..policy(8)
    });
    let bulk = |chains, steps| running.job(Priority::Bulk, chains, steps);
    let (few, many) = tokio::join!(
        running.scheduler.infer(bulk(1, 40)),
        running.scheduler.infer(bulk(4, 10)),
    );
    assert_eq!(
        (few.unwrap().chains.len(), many.unwrap().chains.len()),
        (1, 4)
    );
    let rows = running.rows();
    assert!(rows.iter().all(|rows| [3, 8].contains(rows)), "{rows:?}");
    assert!(rows.contains(&8) && rows.contains(&3), "{rows:?}");
}

#[tokio::test]
async fn a_bucket_beyond_a_workers_room_is_that_room() {
    let running = Running::start_workers(
        2,
        Policy {
            buckets: vec![2, 8],
            ..policy(8)
        },
    );
    let job = running.job(Priority::Bulk, 8, 40);
    running.scheduler.infer(job).await.unwrap();
    let rows = running.rows();
    assert!(rows.iter().all(|rows| [2, 4].contains(rows)), "{rows:?}");
    assert!(rows.contains(&4), "{rows:?}");
}

#[tokio::test]
async fn a_deadline_and_a_caller_that_leaves_free_the_rows() {
    let running = Running::start(policy(2));
    let mut late = running.job(Priority::Interactive, 2, 1_000_000);
    late.deadline = Some(Instant::now() + Duration::from_millis(20));
    let late = running.scheduler.infer(late).await;
    assert!(matches!(late, Err(SchedulerError::DeadlineExceeded)));
    let abandoned = running.submit(running.job(Priority::Interactive, 2, 1_000_000));
    running.until_running(2).await;
    abandoned.abort();
    running.until_running(0).await;
    let next = running.job(Priority::Interactive, 2, 5);
    assert!(running.scheduler.infer(next).await.is_ok());
    running.until_running(0).await;
    let (scheduler, next) = (&running.scheduler, running.job(Priority::Bulk, 1, 5));
    assert!(scheduler.estimate(Priority::Bulk, &next.langevin).is_none());
}

#[tokio::test]
async fn answers_that_come_late_leave_a_margin_to_the_next() {
    let running = Running::start(policy(2));
    let long = running.submit(running.job(Priority::Interactive, 1, 1_000_000));
    running.until_running(1).await;
    let margin = || {
        let langevin = running.job(Priority::Bulk, 1, 5).langevin;
        let estimate = running.scheduler.estimate(Priority::Bulk, &langevin);
        estimate.unwrap().margin
    };
    assert_eq!(margin(), Duration::ZERO);
    let mut quick = running.job(Priority::Interactive, 1, 5);
    quick.expected = Some(Duration::from_secs(3600));
    running.scheduler.infer(quick).await.unwrap();
    assert_eq!(margin(), Duration::ZERO);
    let mut late = running.job(Priority::Interactive, 1, 5);
    late.expected = Some(STEP);
    running.scheduler.infer(late).await.unwrap();
    assert!(margin() > Duration::ZERO);
    long.abort();
}

#[tokio::test]
async fn reconstructions_come_when_asked_for_and_hidden_pixels_do_not() {
    let running = Running::start(policy(4));
    let mut masked = running.job(Priority::Interactive, 3, 20);
    masked.mask = Some(vec![1.0, 0.0]);
    masked.reconstruct = true;
    let (plain, masked) = tokio::join!(
        running
            .scheduler
            .infer(running.job(Priority::Interactive, 3, 20)),
        running.scheduler.infer(masked),
    );
    let (plain, masked) = (plain.unwrap(), masked.unwrap());
    assert!(plain.reconstructions.is_empty() && plain.x.len() == SIZES.values);
    assert_eq!(masked.x, [0.5, 0.0]);
    assert_eq!(masked.chains[0].log_likelihood, 0.5);
    assert_eq!(plain.chains[0].log_likelihood, 1.5);
    for (chain, image) in masked.chains.iter().zip(&masked.reconstructions) {
        assert_eq!(image, &[chain.z[0]; 2]);
    }
    assert_eq!(masked.reconstructions.len(), 3);
}

#[tokio::test]
async fn workers_share_chains_and_the_scores_do_not_tell() {
    let one = Running::start(policy(12));
    let three = Running::start_workers(3, policy(12));
    let job = |running: &Running| running.job(Priority::Interactive, 6, 2000);
    let alone = one.scheduler.infer(job(&one)).await.unwrap();
    let shared = three.scheduler.infer(job(&three)).await.unwrap();
    assert_eq!(scores(&alone), scores(&shared));
    assert_eq!(three.fullest(3), [2, 2, 2]);
}

#[tokio::test]
async fn rows_that_cannot_be_shared_evenly_are_shared_nearly_so() {
    let running = Running::start_workers(3, policy(5));
    let jobs: Vec<_> = (0..6)
        .map(|_| running.submit(running.job(Priority::Interactive, 2, 500)))
        .collect();
    for job in jobs {
        assert_eq!(job.await.unwrap().unwrap().chains.len(), 2);
    }
    assert_eq!(running.fullest(3), [2, 2, 1]);
    let fewer = Running::start_workers(4, policy(2));
    let job = fewer.job(Priority::Interactive, 4, 500);
    fewer.scheduler.infer(job).await.unwrap();
    assert_eq!(fewer.fullest(4), [1, 1, 0, 0]);
}

#[tokio::test]
async fn a_panic_leaves_what_runs_on_another_worker_alone() {
    let running = Running::start_workers(2, policy(2));
    let long = running.submit(running.job(Priority::Interactive, 1, 100_000));
    running.until_running(1).await;
    running.panic().await;
    assert!(!long.is_finished());
    let next = running.job(Priority::Interactive, 3, 20);
    assert_eq!(running.scheduler.infer(next).await.unwrap().chains.len(), 3);
    assert!(!long.is_finished());
    long.abort();
    running.until_running(0).await;
}

#[tokio::test]
async fn a_scheduler_that_has_lost_a_worker_stops() {
    let running = Running::start_workers(2, policy(4));
    let long = running.submit(running.job(Priority::Interactive, 4, 1_000_000));
    running.until_running(4).await;
    running.dies.store(true, Ordering::Relaxed);
    let waits = running.submit(running.job(Priority::Interactive, 1, 5));
    for job in [long, waits] {
        assert!(matches!(job.await.unwrap(), Err(SchedulerError::Stopped)));
    }
    let next = running.job(Priority::Interactive, 1, 5);
    let next = running.scheduler.infer(next).await;
    assert!(matches!(next, Err(SchedulerError::Stopped)));
    let deadline = Instant::now() + Duration::from_secs(60);
    while running.scheduler.is_alive() {
        assert!(Instant::now() < deadline, "the threads go on");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn every_size_is_recorded_on_the_thread_that_steps() {
    let buckets = vec![1, 3, 5];
    let policy = Policy {
        buckets: buckets.clone(),
        ..policy(10)
    };
    let running = Running::start_workers(2, policy);
    let job = running.job(Priority::Interactive, 10, 50);
    running.scheduler.infer(job).await.unwrap();
    // A thread that stepped and recorded nothing would be here too.
    let recorded = running.recorded.lock().unwrap();
    let mut sizes: Vec<_> = recorded.values().cloned().collect();
    assert_eq!(sizes.len(), 2);
    for sizes in &mut sizes {
        sizes.sort_unstable();
        sizes.dedup();
        assert_eq!(*sizes, buckets);
    }
}

#[test]
fn a_size_that_cannot_be_recorded_stops_the_start() {
    let start = Running::try_start_workers(2, policy(2 * UNRECORDABLE));
    let Err(StartError::Runtime(error)) = start.map(drop) else {
        panic!("it started");
    };
    assert!(error.to_string().contains("cuda_graphs = false"), "{error}");
}

/// Every site of an image is scored as an image of its own with the values of the site, whoever shares the
/// batch; chains and x come in the order of the sites.
#[tokio::test]
async fn sites_are_scored_as_images_of_their_own() {
    const SITES: usize = 11;
    let whole = Running::start(policy(4));
    let running = Running::start_with_sites(SITES, 2, policy(4));
    let mut jobs = Vec::new();
    for priority in [Priority::Interactive, Priority::Bulk].repeat(5) {
        jobs.push(running.submit(running.job(priority, 2, 12)));
    }
    for job in jobs {
        let inferred = job.await.unwrap().unwrap();
        assert_eq!(inferred.chains.len(), 2 * SITES);
        let sites = (0..SITES).map(|site| [0.5 + site as f32, 1.0 + site as f32]);
        assert_eq!(inferred.x, sites.clone().flatten().collect::<Vec<_>>());
        for (chains, site) in inferred.chains.chunks(2).zip(sites) {
            let likelihood = f64::from(site[0] + site[1]);
            assert!(
                chains
                    .iter()
                    .all(|chain| chain.log_likelihood == likelihood)
            );
            assert_ne!(
                chains[0].z, chains[1].z,
                "chains of a site have noise of their own"
            );
        }
        // The first site's noise is that of a whole image.
        let alone = whole.job(Priority::Interactive, 2, 12);
        let alone = whole.scheduler.infer(alone).await.unwrap();
        assert_eq!(alone.chains[..], inferred.chains[..2]);
    }
    assert_eq!(running.metrics.chains_running.get(), 0);
    let waiting = running.metrics.chains_waiting.iter();
    assert!(
        waiting
            .map(|waiting| waiting.get())
            .all(|chains| chains == 0)
    );
}

#[tokio::test]
async fn an_image_whose_sites_cannot_be_read_fails_alone() {
    let running = Running::start_with_sites(5, 1, policy(4));
    let mut jobs = Vec::new();
    for index in 0..8 {
        let mut job = running.job(Priority::Interactive, 1, 30);
        if index % 4 == 2 {
            job.image[1] = UNREADABLE;
        }
        jobs.push(running.submit(job));
    }
    for (index, job) in jobs.into_iter().enumerate() {
        match job.await.unwrap() {
            Ok(inferred) => assert_eq!((inferred.chains.len(), index % 4 == 2), (5, false)),
            Err(SchedulerError::Runtime(_)) => assert_eq!(index % 4, 2),
            Err(error) => panic!("{error}"),
        }
    }
}

/// What is abandoned before its sites are read is not read, and counts nowhere.
#[tokio::test]
async fn images_that_nobody_waits_for_are_not_read() {
    let running = Running::start_with_sites(4, 1, policy(4));
    let long = running.submit(running.job(Priority::Interactive, 1, 100_000));
    running.until_running(4).await;
    // One is read ahead at most.
    let unread: Vec<_> = (0..6)
        .map(|_| running.submit(running.job(Priority::Bulk, 1, 20)))
        .collect();
    let waiting = || running.metrics.chains_waiting[1].get();
    while waiting() != 24 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for job in unread {
        job.abort();
    }
    while waiting() != 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    long.abort();
    let next = running.job(Priority::Interactive, 1, 20);
    assert_eq!(running.scheduler.infer(next).await.unwrap().chains.len(), 4);
}
