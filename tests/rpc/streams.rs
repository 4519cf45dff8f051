//! `ScoreStream`.

use std::collections::BTreeMap;
use std::process::Command;

use futures_util::stream;
use lfbm_wire::ScoreRequest;
use lfbm_wire::score_stream_response::Result as Scored;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic_types::Status as RpcStatus;

use crate::common::{
    Server, bundle, client, close, encoded, endless, eventually, metric, pixels, png,
};
use crate::in_stream;

#[tokio::test]
async fn a_stream_answers_every_image_and_a_bad_one_for_itself() {
    const IMAGES: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let spec = bundle.manifest().image;
    let flags = ["--max-stream-in-flight", "16"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let mut client = client(&server).await;
    let request = move |index: usize| match index % 10 {
        7 => encoded(b"no image".to_vec()),
        8 => ScoreRequest {
            model: "other".to_owned(),
            ..encoded(png(pixels(&spec, index)))
        },
        _ => encoded(png(pixels(&spec, index))),
    };
    let requests = stream::iter((0..IMAGES).map(move |index| in_stream(index, request(index))));
    let mut replies = client.score_stream(requests).await.unwrap().into_inner();
    let mut by_id = BTreeMap::new();
    while let Some(reply) = replies.message().await.unwrap() {
        let index: usize = reply.id.parse().unwrap();
        assert!(by_id.insert(index, reply.result.unwrap()).is_none());
    }
    assert_eq!(by_id.len(), IMAGES);
    for (index, result) in &by_id {
        match (index % 10, result) {
            (7, Scored::Error(RpcStatus { code, details, .. })) => {
                assert_eq!(*code, Code::InvalidArgument as i32);
                assert!(details[0].type_url.ends_with("google.rpc.BadRequest"));
            }
            (8, Scored::Error(RpcStatus { code, message, .. })) => {
                assert_eq!(*code, Code::NotFound as i32);
                assert!(message.contains("random-mlp"), "{message}");
            }
            (0..7 | 9, Scored::Score(_)) => {}
            (_, other) => panic!("{index}: {other:?}"),
        }
    }
    let alone = client.score(request(3)).await.unwrap().into_inner();
    let Scored::Score(streamed) = &by_id[&3] else {
        unreachable!()
    };
    assert!(close(streamed.log_joint, alone.log_joint));
}

#[tokio::test]
async fn a_stop_answers_what_a_stream_has_sent_and_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let mut server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let (requests, stream) = mpsc::channel(8);
    let image = encoded(png(pixels(&bundle.manifest().image, 0)));
    requests.send(in_stream("first", image)).await.unwrap();
    let replies = client.score_stream(ReceiverStream::new(stream)).await;
    let mut replies = replies.unwrap().into_inner();
    assert_eq!(replies.message().await.unwrap().unwrap().id, "first");
    let process = server.process.id().to_string();
    let stopped = Command::new("kill").arg(process).status().unwrap();
    assert!(stopped.success());
    // The client would send more; the server does not wait for it.
    let status = replies.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(server.process.wait().unwrap().success());
}

#[tokio::test]
async fn a_stream_that_is_given_up_frees_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--max-steps", "100000000"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let mut client = client(&server).await;
    let long = endless(encoded(png(pixels(&bundle.manifest().image, 0))));
    let (requests, stream) = mpsc::channel(8);
    for index in 0..4 {
        requests.send(in_stream(index, long.clone())).await.unwrap();
    }
    let replies = client.score_stream(ReceiverStream::new(stream)).await;
    let running = || metric(&server, "lfbm_chains_running", "");
    eventually("the images run", || running() == 4.0).await;
    drop((requests, replies.unwrap()));
    eventually("the rows are free", || running() == 0.0).await;
}

#[tokio::test]
async fn an_id_that_is_too_long_is_an_error_of_its_image() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let request = encoded(png(pixels(&bundle.manifest().image, 0)));
    let (long, longest) = ("i".repeat(2000), "j".repeat(1024));
    let requests = [&long, &longest].map(|id| in_stream(id, request.clone()));
    let replies = client.score_stream(stream::iter(requests)).await.unwrap();
    let mut replies = replies.into_inner();
    let mut by_id = BTreeMap::new();
    while let Some(reply) = replies.message().await.unwrap() {
        by_id.insert(reply.id, reply.result.unwrap());
    }
    assert!(matches!(by_id[&longest], Scored::Score(_)));
    let cut = format!("{}...", &long[..100]);
    let Scored::Error(RpcStatus { code, message, .. }) = &by_id[&cut] else {
        panic!("{by_id:?}");
    };
    assert_eq!(*code, Code::InvalidArgument as i32);
    assert!(
        message.starts_with("id: expected at most 1024 bytes"),
        "{message}"
    );
}
