//! What messages may make the server hold: for every RPC of every service, whatever it is sent.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use lfbm_wire::ScoreStreamRequest;
use lfbm_wire::ScoreStreamResponse;
use lfbm_wire::score_stream_response::Result::Score;
use prost::Message;
use prost_types::field_descriptor_proto::Type;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::common::{Server, bundle, client, encoded, metric, peak_bytes, pixels, png};
use crate::forge::{ENCODINGS, Place, Services, call, connect, delimited, framed, varint};

const MESSAGE_BYTES: usize = 16 << 20;
/// What requests may hold, and as much again: an allocator keeps for each thread what was freed.
const MOST: usize = 2 * (80 << 20);
/// A field that no message has.
const UNKNOWN: i32 = 1000;

/// A message that is small on the wire, or when it is packed, and large when it is decoded.
struct Hostile {
    path: String,
    name: String,
    message: Vec<u8>,
    encodings: Vec<&'static str>,
    /// Whether no client can mean it.
    is_wrong: bool,
}

/// Every repeated field of every RPC, full of entries that say nothing.
fn empties() -> impl Iterator<Item = Hostile> {
    let services = Services::all();
    let methods = services.methods.clone().into_iter();
    methods.flat_map(move |(path, input)| {
        let places = services.places(&input).into_iter();
        places.filter(Place::is_repeated).flat_map(move |place| {
            let path = path.clone();
            let empties = place.empties(MESSAGE_BYTES).into_iter();
            empties.map(move |(kind, message)| Hostile {
                path: path.clone(),
                name: format!("{} {kind}", place.name()),
                message,
                encodings: ENCODINGS.to_vec(),
                is_wrong: true,
            })
        })
    })
}

/// Every text, as long as a message may be.
fn texts() -> impl Iterator<Item = Hostile> {
    let services = Services::all();
    let methods = services.methods.clone().into_iter();
    let texts = methods.flat_map(move |(path, input)| {
        let places = services.places(&input).into_iter();
        let texts =
            places.filter(|place| matches!(place.field().r#type(), Type::String | Type::Bytes));
        texts.map(move |place| (path.clone(), place))
    });
    texts
        .zip(ENCODINGS.into_iter().cycle())
        .map(|((path, place), encoding)| {
            let text = delimited(place.field().number(), &vec![b'x'; MESSAGE_BYTES - 64]);
            Hostile {
                path,
                name: format!("{} as long as it may be", place.name()),
                message: place.message(text),
                encodings: vec![encoding],
                is_wrong: place.field().r#type() == Type::String,
            }
        })
}

/// What no descriptor names: fields and groups, one after the other and in each other.
fn unknown() -> impl Iterator<Item = Hostile> {
    let number = UNKNOWN as u64;
    let key = |wire_type| varint(number << 3 | wire_type);
    let kinds = [
        ("fields", [key(2), vec![0]].concat()),
        ("numbers", [key(0), vec![0]].concat()),
        ("groups", [key(3), key(4)].concat()),
        ("groups in groups", key(3)),
    ];
    let methods = Services::all().methods.into_keys();
    let encodings = ENCODINGS.into_iter().cycle();
    methods.zip(encodings).flat_map(move |(path, encoding)| {
        kinds.clone().map(move |(kind, one)| Hostile {
            path: path.clone(),
            name: format!("unknown {kind}"),
            message: one.repeat(MESSAGE_BYTES / one.len()),
            encodings: vec![encoding],
            is_wrong: true,
        })
    })
}

/// As little memory as messages of this size allow, and time for a busy machine.
const FLAGS: [&str; 4] = [
    "--max-request-memory-bytes",
    "83886080",
    "--message-timeout-s",
    "600",
];

#[tokio::test]
async fn no_message_takes_much_memory_whatever_the_rpc_and_the_encoding() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &FLAGS);
    let mut client = client(&server).await;
    let good = encoded(png(pixels(&bundle.manifest().image, 0)));
    client.score(good.clone()).await.unwrap();
    let channel = connect(&server.url).await;
    let idle = peak_bytes(&server);
    for hostile in empties().chain(texts()).chain(unknown()) {
        for encoding in hostile.encodings {
            let name = format!("{} {} {encoding}", hostile.path, hostile.name);
            let frames = framed(encoding, &hostile.message);
            let reply = call(&channel, &hostile.path, encoding, frames).await;
            if hostile.is_wrong {
                assert_eq!(reply.code(), Code::InvalidArgument, "{name}: {reply:?}");
            }
            let grown = peak_bytes(&server) - idle;
            eprintln!("{grown} bytes after {name}");
            assert!(grown < MOST, "{name}: {grown} bytes");
        }
    }
    client.score(good).await.unwrap();
}

#[tokio::test]
async fn nor_do_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &FLAGS);
    let mut client = client(&server).await;
    let good = encoded(png(pixels(&bundle.manifest().image, 0)));
    client.score(good.clone()).await.unwrap();
    let idle = peak_bytes(&server);
    let channel = &connect(&server.url).await;
    let packed = ENCODINGS[1..].iter().cycle();
    for (hostile, encoding) in empties().zip(packed) {
        let frames = framed(encoding, &hostile.message);
        let together = (0..8).map(|_| call(channel, &hostile.path, encoding, frames.clone()));
        for reply in join_all(together).await {
            let refused = [Code::InvalidArgument, Code::ResourceExhausted];
            assert!(
                refused.contains(&reply.code()),
                "{}: {reply:?}",
                hostile.name
            );
        }
    }
    let grown = peak_bytes(&server) - idle;
    eprintln!("{grown} bytes");
    assert!(grown < MOST, "{grown} bytes");
    client.score(good).await.unwrap();
}

/// A call whose message does not come to its end before it is dropped.
struct Begun {
    reply: JoinHandle<Result<http::Response<Body>, tonic::transport::Error>>,
    _body: mpsc::Sender<Result<Frame<Bytes>, Status>>,
}

async fn begin(channel: &Channel, path: &str, frames: Vec<u8>) -> Begun {
    let (body, frames_of_body) = mpsc::channel(1);
    body.send(Ok(Frame::data(Bytes::from(frames))))
        .await
        .unwrap();
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(StreamBody::new(ReceiverStream::new(
            frames_of_body,
        ))))
        .unwrap();
    let mut channel = channel.clone();
    std::future::poll_fn(|context| channel.poll_ready(context))
        .await
        .unwrap();
    Begun {
        reply: tokio::spawn(channel.call(request)),
        _body: body,
    }
}

/// A request of so many bytes; what makes it so long is no field of it.
fn padded(request: &impl Message, bytes: usize) -> Vec<u8> {
    let mut message = request.encode_to_vec();
    message.extend(delimited(UNKNOWN, &vec![0; bytes]));
    message
}

const SCORE: &str = "/lfbm.v1.AnomalyDetector/Score";
const SCORE_STREAM: &str = "/lfbm.v1.AnomalyDetector/ScoreStream";

#[tokio::test]
async fn large_requests_share_a_budget_and_small_ones_have_room() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = [
        "--max-message-bytes",
        "1048576",
        "--max-request-memory-bytes",
        "8388608",
    ];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let good = encoded(png(pixels(&bundle.manifest().image, 0)));
    let channel = connect(&server.url).await;
    let large = framed("identity", &padded(&good, 1_000_000));
    let score = |frames: Vec<u8>| call(&channel, SCORE, "identity", frames);
    assert_eq!(score(large.clone()).await.code(), Code::Ok);
    let held = large[..900_000].to_vec();
    let mut begun = vec![begin(&channel, SCORE_STREAM, held.clone()).await];
    for _ in 0..6 {
        begun.push(begin(&channel, SCORE, held.clone()).await);
    }
    let deadline = Instant::now() + Duration::from_secs(15);
    let refused = loop {
        let reply = score(large.clone()).await;
        if reply.code() == Code::ResourceExhausted {
            break reply;
        }
        assert!(Instant::now() < deadline, "there is always room: {reply:?}");
        // Those that had not arrived whole may have been refused in its place.
        for one in begun[1..].iter_mut().filter(|one| one.reply.is_finished()) {
            *one = begin(&channel, SCORE, held.clone()).await;
        }
    };
    assert!(refused.message().contains("--max-request-memory-bytes"));
    let status = Status::from_header_map(&refused.headers).unwrap();
    let details = tonic_types::StatusExt::get_error_details(&status);
    assert_eq!(details.error_info().unwrap().reason, "MEMORY_IN_USE");
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    assert!(metric(&server, "lfbm_rejected_total", r#""memory""#) >= 1.0);
    let small = framed("identity", &good.encode_to_vec());
    assert_eq!(score(small).await.code(), Code::Ok);
    drop(begun);
    // Their ends are on the way.
    let deadline = Instant::now() + Duration::from_secs(15);
    while score(large.clone()).await.code() != Code::Ok {
        assert!(Instant::now() < deadline, "nothing was given back");
    }
}

#[tokio::test]
async fn a_stream_of_large_messages_is_read_as_fast_as_it_is_answered() {
    const MESSAGES: usize = 60;
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = [
        "--max-message-bytes",
        "1048576",
        "--max-request-memory-bytes",
        "5242880",
    ];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let channel = connect(&server.url).await;
    let request = ScoreStreamRequest {
        id: "a".to_owned(),
        request: Some(encoded(png(pixels(&bundle.manifest().image, 0)))),
    };
    let frame = framed("identity", &padded(&request, 600_000));
    let reply = call(&channel, SCORE_STREAM, "identity", frame.repeat(MESSAGES)).await;
    assert_eq!(reply.code(), Code::Ok, "{}", reply.message());
    let mut body = reply.body.as_slice();
    let mut answered = 0;
    while !body.is_empty() {
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        let message = &body[5..5 + length];
        let reply = ScoreStreamResponse::decode(message).unwrap();
        assert!(matches!(reply.result, Some(Score(_))), "{reply:?}");
        answered += 1;
        body = &body[5 + length..];
    }
    assert_eq!(answered, MESSAGES);
}

#[tokio::test]
async fn a_message_that_does_not_arrive_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--message-timeout-s", "10"];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let channel = connect(&server.url).await;
    let before = peak_bytes(&server);
    // Each says that it is long, and sends little of it.
    let mut silent = Vec::new();
    for path in [SCORE, SCORE_STREAM].repeat(100) {
        let head = [vec![0], (MESSAGE_BYTES as u32).to_be_bytes().to_vec()].concat();
        silent.push(begin(&channel, path, [head, vec![0x0a; 3]].concat()).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let grown = peak_bytes(&server) - before;
    assert!(grown < 25_000_000, "{grown} bytes");
    let started = Instant::now();
    for mut begun in silent {
        let response = (&mut begun.reply).await.unwrap().unwrap();
        let (head, body) = response.into_parts();
        let trailers = body.collect().await.unwrap().trailers().cloned();
        let status = Status::from_header_map(&trailers.unwrap_or(head.headers)).unwrap();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert!(started.elapsed() < Duration::from_secs(60));
    }
    assert_eq!(metric(&server, "lfbm_rejected_total", r#""late""#), 200.0);
}
