//! Clients that say nothing, and images that are not what they seem.

use std::io::{Cursor, Write};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use futures_util::stream;
use image::{GrayImage, ImageFormat};
use lfbm_server::http::MAX_CONNECTIONS;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::image::Content;
use lfbm_wire::{
    DataType, Image, ListModelsRequest, ScoreRequest, ScoreResponse, ScoreStreamRequest, Tensor,
};
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_types::StatusExt;

use crate::common::{Server, bundle, client, encoded, http_get, peak_bytes, pixels, png};
use crate::{PATIENCE, wait_for};

#[tokio::test]
async fn idle_connections_are_harmless_and_their_number_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--max-connections", "300"];
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &flags);
    let mut client = AnomalyDetectorClient::connect(server.url.clone())
        .await
        .unwrap();
    let address = server.url.strip_prefix("http://").unwrap();
    let mut idle = Vec::new();
    for _ in 0..500 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    client.list_models(ListModelsRequest {}).await.unwrap();
    wait_for(&server, r#"lfbm_rejected_total{reason="connections"}"#).await;
    // The silent ones lose their places in time, and others get them.
    let deadline = Instant::now() + PATIENCE;
    let ask = async || {
        let channel = Channel::from_shared(server.url.clone()).unwrap();
        let mut late = AnomalyDetectorClient::new(channel.connect().await?);
        let reply = late.list_models(ListModelsRequest {}).await?;
        Ok::<_, Box<dyn std::error::Error>>(reply)
    };
    while let Err(error) = ask().await {
        assert!(Instant::now() < deadline, "{error:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.list_models(ListModelsRequest {}).await.unwrap();
}

/// A PNG chunk.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut checked = kind.to_vec();
    checked.extend(data);
    let mut crc = flate2::Crc::new();
    crc.update(&checked);
    let length = (data.len() as u32).to_be_bytes();
    [&length[..], &checked, &crc.sum().to_be_bytes()].concat()
}

/// Puts a colour profile of so many zeros into a PNG file.
fn with_profile(png: &[u8], bytes: usize) -> Vec<u8> {
    let mut deflated = ZlibEncoder::new(Vec::new(), Compression::best());
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes / zeros.len() {
        deflated.write_all(&zeros).unwrap();
    }
    let profile = [b"bomb\0\0", &deflated.finish().unwrap()[..]].concat();
    // After the signature and the header.
    let (head, rest) = png.split_at(8 + 25);
    [head, &chunk(b"iCCP", &profile), rest].concat()
}

#[tokio::test]
async fn silent_connections_to_the_metrics_port_are_bounded_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let mut silent = Vec::new();
    let started = Instant::now();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect(&server.http).await.unwrap());
    }
    assert!(http_get(&server, "/livez").starts_with("HTTP/1.1 200"));
    let waited = started.elapsed();
    assert!(
        waited > Duration::from_secs(1),
        "{waited:?}: there was room"
    );
    assert!(waited < Duration::from_secs(25), "{waited:?}");
    drop(silent);
}

#[tokio::test]
async fn messages_that_cannot_be_read_are_the_clients_fault() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = ["--max-message-bytes", "10000"];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let mut client = client(&server).await;
    let long = encoded(vec![0; 10_001]);
    let status = client.score(long.clone()).await.unwrap_err();
    let of_stream = ScoreStreamRequest {
        request: Some(long),
        ..Default::default()
    };
    let replies = client.score_stream(stream::iter([of_stream])).await;
    let of_stream = replies.unwrap().into_inner().message().await.unwrap_err();
    for status in [status, of_stream] {
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(
            status.message().contains("--max-message-bytes"),
            "{status:?}"
        );
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "MESSAGE_TOO_LONG");
    }

    // The first field of a request is text, of a tensor a number.
    let channel = Channel::from_shared(server.url.clone()).unwrap();
    let mut grpc = tonic::client::Grpc::new(channel.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let request = Request::new(Tensor {
        data_type: 1,
        ..Default::default()
    });
    let path = PathAndQuery::from_static("/lfbm.v1.AnomalyDetector/Score");
    let codec = tonic_prost::ProstCodec::<Tensor, ScoreResponse>::default();
    let status = grpc.unary(request, path, codec).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "MESSAGE_UNREADABLE");
    assert!(status.metadata().contains_key("x-request-id"));
    let rejected = r#"lfbm_rejected_total{reason="invalid"} 3"#;
    wait_for(&server, rejected).await;
}

#[tokio::test]
async fn hostile_images_get_a_precise_error_and_little_memory() {
    const BOMB_BYTES: usize = 512 << 20;
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let image = png(pixels(&bundle.manifest().image, 0));
    let good = encoded(image.clone());
    client.score(good.clone()).await.unwrap();
    let before = peak_bytes(&server);

    let blank = |width, height| {
        let mut file = Cursor::new(Vec::new());
        let blank = GrayImage::new(width, height);
        blank.write_to(&mut file, ImageFormat::Png).unwrap();
        encoded(file.into_inner())
    };
    let tensor = |shape: &[u64], data: Vec<u8>| ScoreRequest {
        image: Some(Image {
            content: Some(Content::Tensor(Tensor {
                data_type: DataType::Float32.into(),
                shape: shape.to_vec(),
                data,
            })),
        }),
        ..Default::default()
    };
    let filled = |value: f32| value.to_le_bytes().repeat(784);
    let hostile = [
        (blank(10_000, 10_000), "got 10000 x 10000"),
        (encoded(Vec::new()), "no bytes"),
        (encoded(b"\x89PNG\r\n\x1a\n".to_vec()), "ends too early"),
        (tensor(&[1, 28, 28], filled(f32::NAN)), "NaN at index 0"),
        (
            tensor(&[1, 28, 28], filled(f32::INFINITY)),
            "inf at index 0",
        ),
        (tensor(&[1, 28, 28], filled(-1.0)), "-1 at index 0"),
        (tensor(&[3, 28, 28], filled(0.5)), "got [3, 28, 28]"),
        (tensor(&[1, 28, 28], Vec::new()), "got 0"),
        (tensor(&[], filled(0.5)), "got []"),
        (
            tensor(&[u64::MAX, u64::MAX, 2], filled(0.5)),
            "18446744073709551615",
        ),
    ];
    for (request, part) in hostile {
        let status = client.score(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{part}: {status:?}");
        assert!(status.message().contains(part), "{part}: {status:?}");
    }
    // The profile has no influence on the score; it is left packed.
    let bomb = encoded(with_profile(&image, BOMB_BYTES));
    client.score(bomb).await.unwrap();
    // What is small on the wire and large in memory is refused where it crosses the limit.
    let mut packing = client.clone().send_compressed(CompressionEncoding::Gzip);
    let status = packing
        .score(encoded(vec![0; BOMB_BYTES]))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.error_info().unwrap().reason, "MESSAGE_TOO_LONG");

    client.score(good).await.unwrap();
    let grown = peak_bytes(&server).saturating_sub(before);
    assert!(grown < BOMB_BYTES / 4, "{grown} bytes");
}
