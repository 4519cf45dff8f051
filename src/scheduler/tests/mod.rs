//! The scheduler with graphs of arithmetic, so that they can be slow, fail and panic.

mod arithmetic;
mod placed;
mod running;
mod sites;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use self::arithmetic::{FAILS, SIZES, STEP, UNRECORDABLE};
use self::running::{Running, policy, scores};
use super::{Policy, SchedulerError, StartError};
use crate::request::Priority;

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

#[tokio::test]
async fn there_is_room_while_a_row_is_free() {
    let running = Running::start(policy(2));
    assert!(running.scheduler.has_room());
    let endless = |priority| running.submit(running.job(priority, 1, 100_000_000));
    let first = endless(Priority::Bulk);
    running.until_running(1).await;
    assert!(running.scheduler.has_room());
    let second = endless(Priority::Interactive);
    running.until_running(2).await;
    assert!(!running.scheduler.has_room());
    first.abort();
    running.until_running(1).await;
    assert!(running.scheduler.has_room());
    second.abort();
}
