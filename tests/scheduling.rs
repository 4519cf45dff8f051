//! Who runs when: classes, deadlines, cancellations and overload, on a real server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::time::Duration;

use common::{Server, bundle, client, close, encoded, endless, eventually, metric, pixels, png};
use futures_util::future::join_all;
use lfbm_bundle::manifest::ImageSpec;
use lfbm_wire::{self, DataType, InferenceParameters, Priority, ScoreRequest, Tensor, Verdict};
use tonic::{Code, Request};
use tonic_types::StatusExt;

const ENDLESS: [&str; 2] = ["--max-steps", "100000000"];

fn request(spec: &ImageSpec, index: usize) -> ScoreRequest {
    encoded(png(pixels(spec, index)))
}

/// A 0/1 mask that hides every `period`-th pixel.
fn mask(spec: &ImageSpec, period: usize) -> Tensor {
    let visible = |position| u8::from(position % period != 0);
    Tensor {
        data_type: DataType::Uint8.into(),
        shape: vec![spec.height as u64, spec.width as u64],
        data: (0..spec.positions()).map(visible).collect(),
    }
}

/// Requests of every kind: K, step size, chains, masks and priorities differ.
fn mixture(spec: &ImageSpec) -> Vec<ScoreRequest> {
    (0..64)
        .map(|index| {
            let priority = [Priority::Interactive, Priority::Bulk][index % 2];
            ScoreRequest {
                inference: Some(InferenceParameters {
                    seed: Some(index as u64 % 5),
                    chains: Some(1 + index as u32 % 4),
                    steps: Some(3 + 7 * (index as u32 % 9)),
                    step_size: Some(0.02 + 0.001 * index as f32),
                    aggregation: lfbm_wire::Aggregation::Mean.into(),
                    ..Default::default()
                }),
                priority: priority.into(),
                mask: (index % 3 == 0).then(|| mask(spec, 2 + index % 5)),
                ..request(spec, index)
            }
        })
        .collect()
}

async fn score_together(server: &Server, requests: &[ScoreRequest]) -> Vec<f64> {
    let client = client(server).await;
    let calls = requests.iter().map(|request| {
        let mut client = client.clone();
        async move {
            client
                .score(request.clone())
                .await
                .unwrap()
                .into_inner()
                .log_joint
        }
    });
    join_all(calls).await
}

/// Alone, among 63 others in a batch too small for them all, or padded: one score.
#[tokio::test]
async fn a_score_does_not_depend_on_how_it_is_scheduled() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let requests = mixture(&bundle.manifest().image);
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut alone = Vec::new();
    for request in &requests {
        let reply = client(&server).await.score(request.clone()).await.unwrap();
        alone.push(reply.into_inner().log_joint);
    }
    // However slow the machine is, time refuses nothing here.
    let patient = "--max-queue-ms=600000";
    for flags in [
        ["--max-batch-chains=64", "--bulk-share=0.25"],
        ["--max-batch-chains=7", "--bulk-share=0.5"],
        ["--max-batch-chains=48", "--batch-buckets=5,20,48"],
    ] {
        // On any machine a thread's room is larger than the smallest bucket.
        let flags = [flags[0], flags[1], patient, "--threads=2"];
        let server = Server::start(bundle.dir(), folder.path(), &flags);
        let together = score_together(&server, &requests).await;
        for (index, (alone, together)) in alone.iter().zip(together).enumerate() {
            assert!(
                close(together, *alone),
                "{flags:?} {index}: {together}, {alone}"
            );
        }
        let padding = metric(&server, "lfbm_padding_steps_total", "");
        assert_eq!(padding > 0.0, flags[1].contains("buckets"), "{flags:?}");
    }
}

#[tokio::test]
async fn hidden_pixels_change_nothing_and_leave_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let whole = client.score(request(&spec, 1)).await.unwrap().into_inner();
    let mut bytes = pixels(&spec, 1);
    let hide = mask(&spec, 3);
    let scores = [7, 250].map(|other| {
        for (value, visible) in bytes.iter_mut().zip(&hide.data) {
            *value = if *visible == 1 { *value } else { other };
        }
        ScoreRequest {
            mask: Some(hide.clone()),
            ..encoded(png(bytes.clone()))
        }
    });
    let [first, second] = scores;
    let first = client.score(first).await.unwrap().into_inner();
    let second = client.score(second).await.unwrap().into_inner();
    assert_eq!(first.log_joint, second.log_joint);
    assert!(!close(first.log_joint, whole.log_joint));
    assert_eq!(
        (first.p_value, first.verdict()),
        (None, Verdict::Unspecified)
    );
}

/// A flood of bulk chains holds the batch, and yet single requests go through; it gets on with its
/// own as well, although single requests never cease.
#[tokio::test]
async fn neither_class_starves_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let flags = ["--max-batch-chains", "8", ENDLESS[0], ENDLESS[1]];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let client = client(&server).await;
    let bulk = |steps: u32, chains: u32| ScoreRequest {
        inference: Some(InferenceParameters {
            steps: Some(steps),
            chains: Some(chains),
            step_size: Some(0.001),
            ..Default::default()
        }),
        priority: Priority::Bulk.into(),
        ..request(&spec, 0)
    };
    let mut flood = Vec::new();
    for _ in 0..4 {
        let (mut client, request) = (client.clone(), bulk(100_000_000, 16));
        flood.push(tokio::spawn(async move { client.score(request).await }));
    }
    eventually("bulk fills the batch", || {
        metric(&server, "lfbm_chains_running", "") == 8.0
            && metric(&server, "lfbm_chains_waiting", "") == 56.0
    })
    .await;
    for index in 0..20 {
        client.clone().score(request(&spec, index)).await.unwrap();
    }

    // Twelve callers that ask again and again leave bulk its share of eight rows: two.
    let callers: Vec<_> = (0..12)
        .map(|index| {
            let (mut client, request) = (client.clone(), request(&spec, index));
            tokio::spawn(async move {
                loop {
                    client.score(request.clone()).await.unwrap();
                }
            })
        })
        .collect();
    client.clone().score(bulk(100, 1)).await.unwrap();
    assert!(callers.iter().all(|caller| !caller.is_finished()));
    for task in callers {
        task.abort();
    }
    assert!(flood.iter().all(|bulk| !bulk.is_finished()));
    assert!(metric(&server, "lfbm_chain_suspensions_total", "") > 0.0);
}

#[tokio::test]
async fn deadlines_and_cancellations_free_rows() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let server = Server::start(bundle.dir(), folder.path(), &ENDLESS);
    let client = client(&server).await;

    let mut late = Request::new(endless(request(&spec, 0)));
    // By hand, so that the server and not the client's own clock ends it.
    late.metadata_mut()
        .insert("grpc-timeout", "200m".parse().unwrap());
    let status = client.clone().score(late).await.unwrap_err();
    assert!(
        matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{status:?}"
    );
    eventually("the row is free", || {
        metric(&server, "lfbm_chains_running", "") == 0.0
    })
    .await;

    let abandoned: Vec<_> = (0..200)
        .map(|index| {
            // Interactive ones would be refused: each stands in line millions of times.
            let request = ScoreRequest {
                priority: Priority::Bulk.into(),
                ..endless(request(&spec, index))
            };
            let mut client = client.clone();
            tokio::spawn(async move { client.score(request).await })
        })
        .collect();
    let held = || {
        let running = metric(&server, "lfbm_chains_running", "");
        running + metric(&server, "lfbm_chains_waiting", "")
    };
    eventually("200 chains are there", || held() == 200.0).await;
    for call in abandoned {
        call.abort();
    }
    client.clone().score(request(&spec, 0)).await.unwrap();
    eventually("all rows are free", || held() == 0.0).await;
}

/// A batch that never ends, a long line for it, and one request that comes behind.
#[tokio::test]
async fn a_request_that_would_be_too_late_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let flags = [
        &ENDLESS[..],
        &[
            "--max-batch-chains=4",
            "--max-chains=1000000",
            "--max-chains-in-flight=2000000",
        ],
    ]
    .concat();
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let client = client(&server).await;
    for chains in [4, 1_000_000] {
        let mut endless = endless(request(&spec, 0));
        endless.inference.as_mut().unwrap().chains = Some(chains);
        let mut client = client.clone();
        tokio::spawn(async move { client.score(endless).await });
        let name = ["lfbm_chains_waiting", "lfbm_chains_running"][usize::from(chains == 4)];
        eventually("the chains are there", || {
            metric(&server, name, "") == f64::from(chains)
        })
        .await;
    }
    let refused = |request: ScoreRequest, timeout: Option<Duration>| {
        let mut client = client.clone();
        async move {
            let mut request = Request::new(request);
            if let Some(timeout) = timeout {
                request.set_timeout(timeout);
            }
            let status = client.score(request).await.unwrap_err();
            let reason = status.get_details_error_info().unwrap().reason;
            let retry = status
                .get_details_retry_info()
                .and_then(|info| info.retry_delay);
            (status.code(), reason, retry)
        }
    };
    let minute = Some(Duration::from_secs(60));
    let (quick, endless) = (request(&spec, 0), endless(request(&spec, 0)));
    assert_eq!(
        refused(quick.clone(), None).await,
        (Code::ResourceExhausted, "QUEUE_TOO_LONG".to_owned(), minute)
    );
    assert_eq!(
        refused(quick, minute).await,
        (
            Code::ResourceExhausted,
            "DEADLINE_UNREACHABLE".to_owned(),
            minute
        )
    );
    assert_eq!(
        refused(endless, minute).await,
        (
            Code::DeadlineExceeded,
            "DEADLINE_UNREACHABLE".to_owned(),
            None
        )
    );
    assert_eq!(metric(&server, "lfbm_rejected_total", "deadline"), 2.0);
    assert_eq!(metric(&server, "lfbm_rejected_total", "overloaded"), 1.0);
}
