//! Images of many sites.

use std::time::Duration;

use super::arithmetic::UNREADABLE;
use super::running::{Running, policy};
use crate::request::Priority;
use crate::scheduler::SchedulerError;

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
