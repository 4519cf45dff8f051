//! Mixed load for LFBM_SOAK_S seconds (60 without it): every answer is right, and memory is flat.
//! Not among the tests of `cargo test`; `make soak` runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Server, bundle, client, close, encoded, metric, pixels, png, resident_bytes};
use lfbm_wire::{InferenceParameters, ScoreRequest};
use tonic::Code;

const CLIENTS: usize = 16;
const MAX_GROWTH: f64 = 0.02;
const SAMPLES: usize = 200;

fn median(values: &[usize]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2] as f64
}

/// Requests of several kinds, each with its seed, so that the same one has the same score.
fn requests(bundle: &lfbm_bundle::Bundle) -> Vec<ScoreRequest> {
    (0..12)
        .map(|index| {
            let mut request = encoded(png(pixels(&bundle.manifest().image, index)));
            request.inference = (index % 3 > 0).then(|| InferenceParameters {
                seed: Some(index as u64),
                chains: Some(1 + index as u32 % 4),
                steps: Some(5 + 5 * index as u32),
                ..Default::default()
            });
            request
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_flat_and_every_answer_is_right() {
    let seconds = std::env::var("LFBM_SOAK_S").map_or(60, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    // Whether the machine is quick enough is not the question here.
    let flags = ["--max-queue-ms", "600000"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let requests = Arc::new(requests(&bundle));
    let mut expected = Vec::new();
    for request in requests.iter() {
        let reply = client(&server).await.score(request.clone()).await.unwrap();
        expected.push(reply.into_inner().log_joint);
    }
    let expected = Arc::new(expected);
    let answers = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(seconds);

    let mut clients = Vec::new();
    for worker in 0..CLIENTS {
        let mut client = client(&server).await;
        let (requests, expected) = (Arc::clone(&requests), Arc::clone(&expected));
        let answers = Arc::clone(&answers);
        clients.push(tokio::spawn(async move {
            for round in worker.. {
                if Instant::now() >= end {
                    break;
                }
                let index = round % requests.len();
                let request = requests[index].clone();
                match round % 50 {
                    // Some give up, and some send what is no image.
                    7 => {
                        let patience = Duration::from_millis(1);
                        let _ = tokio::time::timeout(patience, client.score(request)).await;
                    }
                    8 => {
                        let status = client.score(encoded(vec![0; 100])).await.unwrap_err();
                        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
                    }
                    _ => {
                        let got = client.score(request).await.unwrap().into_inner().log_joint;
                        assert!(close(got, expected[index]), "{got}, {}", expected[index]);
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }));
    }

    let started = Instant::now();
    let every = Duration::from_secs(seconds) / SAMPLES as u32;
    let mut resident = Vec::new();
    for sample in 1..=SAMPLES as u32 {
        tokio::time::sleep_until((started + every * sample).into()).await;
        resident.push(resident_bytes(&server));
    }
    for client in clients {
        client.await.unwrap();
    }
    let early = median(&resident[SAMPLES / 4..SAMPLES / 2]);
    let late = median(&resident[SAMPLES * 3 / 4..]);
    let growth = late / early - 1.0;
    println!(
        "{} scores in {seconds} s; resident {:.1} MiB after the warm-up, {:+.2} % at the end",
        answers.load(Ordering::Relaxed),
        early / f64::from(1 << 20),
        100.0 * growth
    );
    assert!(growth <= MAX_GROWTH, "{resident:?}");
    assert_eq!(metric(&server, "lfbm_panics_total", ""), 0.0);
}
