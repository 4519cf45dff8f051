//! A flood of `Sample`: it is bounded, and in nobody's way.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use lfbm_bundle::manifest::PriorKind;
use lfbm_model::GeneratorName;
use lfbm_runtime::Runtime;
use lfbm_testkit::{RandomModel, random_bundle, random_bundle_of};
use lfbm_wire::{ImageForm, SampleRequest};
use tokio::time::timeout;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use crate::common::{Server, client, encoded, eventually, metric, png};

/// Of a request of 64 samples, seconds.
const SLOW: &str = r#""steps": 10000"#;
const SAMPLER: &str = "random-mlp";
const OTHER: &str = "random-mnist";

/// A model whose samples take long beside one whose samples do not.
fn models(folder: &Path) {
    let runtime = Runtime::load(None).unwrap();
    let model = RandomModel {
        prior: PriorKind::Ebm,
        ..RandomModel::new(GeneratorName::Mlp, 64, 4, 1)
    };
    random_bundle_of(&folder.join("slow"), &runtime, model).unwrap();
    let manifest = folder.join("slow/manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let slow = text.replace(r#""steps": 60"#, SLOW);
    assert_ne!(slow, text, "the sampler's steps are elsewhere");
    fs::write(&manifest, slow).unwrap();
    let other = folder.join("other");
    random_bundle(&other, &runtime, GeneratorName::Mnist, 8, 4, 1).unwrap();
}

fn samples(model: &str, count: u32) -> SampleRequest {
    SampleRequest {
        model: model.to_owned(),
        count,
        form: ImageForm::Png.into(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_samples_is_refused_in_part_and_scores_are_answered() {
    let folder = tempfile::tempdir().unwrap();
    let bundles = folder.path().join("models");
    models(&bundles);
    let server = Server::start(&bundles, folder.path(), &[]);
    let client = client(&server).await;
    let flood: Vec<_> = (0..256)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { client.sample(samples(SAMPLER, 64)).await })
        })
        .collect();
    eventually("there are too many", || {
        metric(&server, "lfbm_rejected_total", "overloaded_samples") >= 1.0
    })
    .await;

    for model in [SAMPLER, OTHER] {
        let mut request = encoded(png(vec![100; 28 * 28]));
        request.model = model.to_owned();
        client.clone().score(request).await.unwrap();
    }
    // Its own samples do not wait behind the slow ones.
    let sampled = client.clone().sample(samples(OTHER, 64)).await.unwrap();
    assert_eq!(sampled.into_inner().images.len(), 64);

    // Clients that go take their places with them.
    let (ended, pending): (Vec<_>, Vec<_>) = flood.into_iter().partition(|call| call.is_finished());
    for call in pending {
        call.abort();
    }
    let refused: Vec<_> = join_all(ended)
        .await
        .into_iter()
        .filter_map(|call| call.unwrap().err())
        .collect();
    assert!(!refused.is_empty());
    for status in refused {
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        let details = status.get_error_details();
        let reason = &details.error_info().unwrap().reason;
        let reasons = ["TOO_MANY_SAMPLES", "QUEUE_TOO_LONG"];
        assert!(reasons.contains(&reason.as_str()), "{reason}");
        assert!(details.retry_info().unwrap().retry_delay > Some(Duration::ZERO));
    }
    let again = async {
        loop {
            if let Ok(sampled) = client.clone().sample(samples(SAMPLER, 1)).await {
                break sampled.into_inner();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let again = timeout(Duration::from_secs(60), again).await.unwrap();
    assert_eq!(again.images.len(), 1);
}

#[tokio::test]
async fn a_sample_that_waits_is_given_up_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let bundles = folder.path().join("models");
    models(&bundles);
    let server = Server::start(&bundles, folder.path(), &[]);
    let client = client(&server).await;
    let hurried = || {
        let mut request = Request::new(samples(SAMPLER, 64));
        request.set_timeout(Duration::from_millis(100));
        request
    };
    let late = |status: &Status| matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
    let mut slow = client.clone();
    let slow = tokio::spawn(async move { slow.sample(samples(SAMPLER, 64)).await });
    // One of the two is first, and takes longer than that.
    let status = client.clone().sample(hurried()).await.unwrap_err();
    assert!(late(&status), "{status:?}");
    assert!(!slow.is_finished());
    // Those that go leave no place taken: twenty times as many samples as there is room for.
    for _ in 0..40 {
        let calls = (0..8).map(|_| {
            let mut client = client.clone();
            async move { client.sample(hurried()).await.unwrap_err() }
        });
        for status in join_all(calls).await {
            let refused = status.code() == Code::ResourceExhausted;
            assert!(late(&status) || refused, "{status:?}");
        }
    }
    slow.await.unwrap().unwrap();
    assert_eq!(
        metric(&server, "lfbm_rejected_total", "overloaded_samples"),
        0.0
    );
}
