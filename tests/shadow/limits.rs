//! Shadow versions that cannot keep up, or cannot score what comes.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use lfbm_model::GeneratorName;
use lfbm_wire::image::Content;
use lfbm_wire::{DataType, Image, ScoreRequest, Tensor};
use tonic::Code;

use crate::common::{Server, client, eventually, http_get, metric};
use crate::{Place, images, requests};

/// Images that a shadow version scores at the same time.
const IN_FLIGHT: f64 = 16.0;
/// How long a shadow version may take for one of them.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server whose shadow version never comes to the end of an image.
fn endless(place: &Place) -> Server {
    let endless = [(r#""steps": 20"#, r#""steps": 100000000"#)];
    place.publish(2, GeneratorName::Mlp, &endless);
    place.serve(&["--shadow", "random-mlp:2=1", "--shadow-queue", "2"])
}

#[tokio::test]
async fn a_shadow_version_that_cannot_keep_up_drops_and_every_request_is_answered() {
    let place = Place::with(&[1]);
    let server = endless(&place);
    let mut client = client(&server).await;
    let mut asked = 0.0;
    for request in requests(40) {
        let reply = client.score(request).await.unwrap().into_inner();
        assert_eq!(reply.model.unwrap().version, 1);
        asked += 1.0;
    }
    // Sixteen are under way and two wait; others had no room.
    eventually("those without room are counted", || {
        images(&server, "dropped") >= asked - IN_FLIGHT - 2.0
    })
    .await;
    assert_eq!(images(&server, "scored") + images(&server, "failed"), 0.0);
    assert_eq!(metric(&server, "lfbm_rejected_total", ""), 0.0);
}

/// The names and niceness of a server's threads.
fn threads(server: &Server) -> Vec<(String, i32)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.process.id())).unwrap();
    let threads = tasks.filter_map(|task| {
        // A thread may have ended since it was listed.
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).ok()?;
        let (before, after) = stat.rsplit_once(") ").unwrap();
        let name = before.split_once(" (").unwrap().1.to_owned();
        // The nineteenth field of all, proc_pid_stat(5); the third comes after the name.
        let niceness = after.split(' ').nth(16).unwrap();
        Some((name, niceness.parse().unwrap()))
    });
    threads.collect()
}

#[tokio::test]
async fn the_threads_of_a_shadow_version_let_others_go_first() {
    let place = Place::with(&[1, 2]);
    let server = place.serve(&["--shadow", "random-mlp:2=1", "--threads", "2"]);
    let niceness = |name: &str| {
        let named = threads(&server)
            .into_iter()
            .filter(|(thread, _)| thread.starts_with(name));
        let mut niceness: Vec<_> = named.map(|(_, niceness)| niceness).collect();
        niceness.sort_unstable();
        niceness
    };
    // A thread gives itself its name and niceness, which may come after the first answer.
    eventually("the shadow version's threads are there", || {
        niceness("shadow") == [19]
    })
    .await;
    // Two of each version.
    eventually(
        "two threads of four let others go first",
        || matches!(niceness("worker-")[..], [first, second, 19, 19] if first < 19 && second < 19),
    )
    .await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_shadow_versions() {
    let place = Place::with(&[1]);
    let mut server = endless(&place);
    let mut client = client(&server).await;
    for request in requests(2) {
        client.score(request).await.unwrap();
    }
    eventually("the shadow version is at work", || {
        metric(&server, "lfbm_chains_running", r#"version="2""#) > 0.0
    })
    .await;
    drop(client);
    let stopped = Instant::now();
    let id = server.process.id().to_string();
    assert!(Command::new("kill").arg(id).status().unwrap().success());
    assert_eq!(server.process.wait().unwrap().code(), Some(0));
    assert!(stopped.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn a_version_for_other_images_scores_files_and_fails_alone_on_tensors() {
    let place = Place::with(&[1]);
    // For 32 x 32 colour images.
    place.publish(2, GeneratorName::Svhn, &[]);
    let server = place.serve(&["--shadow", "random-mlp:2=1"]);
    let mut client = client(&server).await;
    let [file] = &requests(1)[..] else {
        unreachable!()
    };
    client.score(file.clone()).await.unwrap();
    eventually("the file is scored", || images(&server, "scored") == 1.0).await;
    let tensor = Tensor {
        data_type: DataType::Uint8.into(),
        shape: vec![1, 28, 28],
        data: vec![7; 28 * 28],
    };
    let grey = ScoreRequest {
        image: Some(Image {
            content: Some(Content::Tensor(tensor)),
        }),
        ..Default::default()
    };
    client.score(grey).await.unwrap();
    eventually("the tensor fails", || images(&server, "failed") == 1.0).await;
}

#[tokio::test]
async fn a_shadow_version_alone_answers_only_who_names_it() {
    let place = Place::with(&[2]);
    let server = place.serve(&["--shadow", "random-mlp:2=1"]);
    let reply = http_get(&server, "/healthz");
    assert!(reply.starts_with("HTTP/1.1 503"), "{reply}");
    let mut client = client(&server).await;
    let [request] = &requests(1)[..] else {
        unreachable!()
    };
    let named = |model: &str, version| ScoreRequest {
        model: model.to_owned(),
        version,
        ..request.clone()
    };
    let status = client.score(named("random-mlp", 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "{status:?}");
    assert!(
        status.message().contains("[2], which are shadow"),
        "{status:?}"
    );
    let status = client.score(named("", 0)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    let reply = client.score(named("random-mlp", 2)).await.unwrap();
    assert_eq!(reply.into_inner().model.unwrap().version, 2);
}
