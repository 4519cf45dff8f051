//! Images of many sites beside others.

use std::fs;
use std::time::Duration;

use futures_util::future::join_all;
use lfbm_testkit::RandomSites;
use lfbm_wire::score_stream_response::Result as Scored;
use lfbm_wire::{Priority, ScoreRequest, ScoreStreamRequest};
use tonic::{Code, Request};

use crate::common::{Server, client, encoded, endless, eventually, metric};
use crate::{assert_as_offline, bundle, offline, picture, png, with_map};

/// Many images of many sites in a stream, of which there is room for four at a time; and single images of a
/// small model, which are not kept waiting.
#[tokio::test(flavor = "multi_thread")]
async fn images_of_many_sites_share_a_server_with_small_ones() {
    let folder = tempfile::tempdir().unwrap();
    let models = folder.path().join("models");
    fs::create_dir(&models).unwrap();
    let large = RandomSites {
        rows: 12,
        columns: 12,
        tile: 4,
        calibration_images: 27,
        ..RandomSites::new(9)
    };
    let large = bundle(&models, "large", large);
    let small = bundle(&models, "small", RandomSites::new(5));
    let flags = ["--max-chains-in-flight", "700", "--max-batch-chains", "16"];
    let server = Server::start(&models, folder.path(), &flags);
    let client = client(&server).await;
    let image = picture(48, 48, [8, 8, 20]);
    let expected = offline(&large, &image);
    let of_large = ScoreRequest {
        model: large.manifest().name.clone(),
        ..with_map(&image)
    };
    let count = 12;
    let requests: Vec<_> = (0..count)
        .map(|index| ScoreStreamRequest {
            id: index.to_string(),
            request: Some(of_large.clone()),
        })
        .collect();
    let stream = {
        let mut client = client.clone();
        async move {
            let replies = client.score_stream(tokio_stream::iter(requests)).await;
            let mut replies = replies.unwrap().into_inner();
            let mut scores = Vec::new();
            while let Some(reply) = replies.message().await.unwrap() {
                let Some(Scored::Score(score)) = reply.result else {
                    panic!("{reply:?}");
                };
                scores.push(score);
            }
            scores
        }
    };
    let image = picture(32, 32, [8, 8, 16]);
    let small_expected = offline(&small, &image);
    let singles = (0..20).map(|_| {
        let mut client = client.clone();
        let request = ScoreRequest {
            model: small.manifest().name.clone(),
            ..with_map(&image)
        };
        async move { client.score(request).await.unwrap().into_inner() }
    });
    // Interactive images of the large model beside the stream.
    let interactive = (0..2).map(|_| {
        let (mut client, request) = (client.clone(), of_large.clone());
        async move { client.score(request).await.unwrap().into_inner() }
    });
    let (scores, singles, interactive) =
        tokio::join!(stream, join_all(singles), join_all(interactive));
    assert_eq!(scores.len(), count);
    for score in scores.iter().chain(&interactive) {
        assert_as_offline(score, &expected);
    }
    for single in &singles {
        assert_as_offline(single, &small_expected);
    }
}

/// More sites than may be in flight at all: such an image has the server to itself.
#[tokio::test]
async fn an_image_of_more_sites_than_there_is_room_for_takes_all_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), "sites", RandomSites::new(5));
    let flags = ["--max-chains", "4", "--max-chains-in-flight", "4"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let mut client = client(&server).await;
    let image = picture(32, 32, [8, 8, 16]);
    let reply = client.score(with_map(&image)).await.unwrap().into_inner();
    assert_as_offline(&reply, &offline(&bundle, &image));
    let bulk = ScoreRequest {
        priority: Priority::Bulk.into(),
        ..with_map(&image)
    };
    let mut many = Vec::new();
    for _ in 0..5 {
        let (mut client, request) = (client.clone(), bulk.clone());
        many.push(async move { client.score(request).await.unwrap().into_inner() });
    }
    for reply in join_all(many).await {
        assert!(reply.site_score.is_some());
    }
}

#[tokio::test]
async fn a_deadline_ends_an_image_of_many_sites_and_frees_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path(), "sites", RandomSites::new(5));
    let server = Server::start(bundle.dir(), folder.path(), &["--max-steps", "100000000"]);
    let mut client = client(&server).await;
    for priority in [Priority::Interactive, Priority::Bulk] {
        let mut request = Request::new(ScoreRequest {
            priority: priority.into(),
            ..endless(encoded(png(&picture(32, 32, [0; 3]))))
        });
        request.set_timeout(Duration::from_millis(300));
        let status = client.score(request).await.unwrap_err();
        // The client's own clock may be the first, which tonic calls cancelled.
        assert!(
            matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled),
            "{status:?}"
        );
    }
    for name in ["lfbm_chains_running", "lfbm_chains_waiting"] {
        eventually(name, || metric(&server, name, "") == 0.0).await;
    }
    let after = client.score(encoded(png(&picture(32, 32, [0; 3])))).await;
    assert!(after.unwrap().into_inner().site_score.is_some());
}
