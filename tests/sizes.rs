//! Images of any size: served as they are evaluated, within limits, with masks of their size.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::collections::HashMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Server, binary, bundle, client, encoded, peak_bytes};
use futures_util::future::join_all;
use futures_util::stream;
use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Rgb, Rgba};
use lfbm_bundle::Bundle;
use lfbm_wire::score_stream_response::Result as Scored;
use lfbm_wire::{
    DataType, ExplainRequest, InferenceParameters, ScoreRequest, ScoreStreamRequest, Tensor,
};
use tonic::{Code, Status};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn shipped() -> PathBuf {
    root().join("models/mnist-not4")
}

/// The digits that ship, by the names of their files.
fn samples() -> Vec<(String, DynamicImage)> {
    let files = fs::read_dir(root().join("deploy/samples")).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|suffix| suffix == "png"));
    paths.sort();
    assert_eq!(paths.len(), 12);
    let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let open = |path: &PathBuf| (name(path), image::open(path).unwrap());
    paths.iter().map(open).collect()
}

fn png(image: &DynamicImage) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    image.write_to(&mut file, ImageFormat::Png).unwrap();
    file.into_inner()
}

#[tokio::test]
async fn a_digit_that_was_scaled_up_is_the_same_digit() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&shipped(), folder.path(), &[]);
    let mut client = client(&server).await;
    for (name, image) in samples() {
        let mut replies = Vec::new();
        for (width, height) in [(28, 28), (280, 280), (100, 300)] {
            let image = image.resize_exact(width, height, FilterType::CatmullRom);
            let reply = client.score(encoded(png(&image))).await.unwrap();
            replies.push(reply.into_inner());
        }
        for reply in &replies {
            let [p, first] = [reply, &replies[0]].map(|reply| reply.local_p_value.unwrap());
            assert_eq!(reply.verdict, replies[0].verdict, "{name}");
            assert!((p - first).abs() < 0.15, "{name}: {p} {first}");
        }
    }
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
}

/// Drawn digits in files of mixed sizes and formats, a folder for each class.
fn draw(images: &Path) {
    let sizes = [
        (28, 28),
        (280, 280),
        (100, 300),
        (333, 77),
        (19, 23),
        (31, 28),
        (640, 480),
    ];
    for (digit, count, class) in [("8", "240", "good"), ("4", "20", "bad")] {
        let (drawn, class) = (images.with_extension(class), images.join(class));
        succeed(
            Command::new(binary("trainer"))
                .args(["draw", "--digit", digit, "--count", count, "--out"])
                .arg(&drawn),
        );
        fs::create_dir_all(&class).unwrap();
        for (index, file) in fs::read_dir(&drawn).unwrap().enumerate() {
            let file = file.unwrap().path();
            let (width, height) = sizes[index % sizes.len()];
            let image = image::open(&file).unwrap();
            let image = image.resize_exact(width, height, FilterType::CatmullRom);
            // A file that is coloured becomes grey again.
            let image = if index % 2 == 0 {
                image
            } else {
                image.to_rgb8().into()
            };
            let format = ["png", "jpg", "bmp"][index % 3];
            let name = file.file_stem().unwrap();
            image.save(class.join(name).with_extension(format)).unwrap();
        }
    }
}

fn fitted(fit: &str, images: &Path, out: &Path) -> Bundle {
    let config = root().join("trainer/configs/strokes.toml");
    let mut command = Command::new(binary("trainer"));
    command.args([
        "fit",
        "--dataset",
        "images",
        "--normal-classes",
        "good",
        "--image-size",
        "28",
    ]);
    command.args([
        "--fit",
        fit,
        "--set",
        "learning.iterations=20",
        "--set",
        "learning.batch_size=32",
        "--set",
        "calibration.count=60",
    ]);
    command
        .arg("--config")
        .arg(config)
        .arg("--data-dir")
        .arg(images)
        .arg("--out")
        .arg(out);
    succeed(&mut command);
    Bundle::open(out).unwrap()
}

/// Scores of one kind by the names of the files.
type Scores = HashMap<String, f64>;

fn evaluated(bundle: &Path, images: &Path, out: &Path) -> Scores {
    let mut command = Command::new(binary("trainer"));
    command
        .arg("evaluate")
        .arg(bundle)
        .arg("--data-dir")
        .arg(images);
    succeed(command.arg("--out").arg(out));
    let table = fs::read_to_string(out.join("scores.csv")).unwrap();
    let mut rows = table
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>());
    let header = rows.next().unwrap();
    let column = |name| header.iter().position(|column| *column == name).unwrap();
    let (file, log_joint) = (column("file"), column("log_joint"));
    let score = |row: Vec<&str>| (row[file].to_owned(), row[log_joint].parse().unwrap());
    rows.map(score).collect()
}

fn served(bundle: &Path, images: &Path, scratch: &Path) -> Scores {
    let server = Server::start(bundle, scratch, &[]);
    let output = Command::new(binary("lfbm"))
        .args(["--server", &server.url, "score", "--json"])
        .arg(images)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let lines = String::from_utf8(output.stdout).unwrap();
    let score = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let file = Path::new(line["image"].as_str().unwrap());
        let file = file.strip_prefix(images).unwrap().to_str().unwrap();
        (file.to_owned(), line["log_joint"].as_f64().unwrap())
    };
    lines.lines().map(score).collect()
}

#[test]
fn what_is_served_of_files_of_mixed_sizes_is_what_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    draw(&images);
    for fit in ["stretch", "pad", "crop"] {
        let bundle = fitted(fit, &images, &folder.path().join(fit));
        assert_eq!(bundle.manifest().image.intake.fit.to_string(), fit);
        let scores = bundle.calibration().log_joint();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let squares = scores.iter().map(|score| (score - mean).powi(2));
        let deviation = (squares.sum::<f64>() / scores.len() as f64).sqrt();
        let report = folder.path().join(format!("{fit}-report"));
        let reported = evaluated(bundle.dir(), &images, &report);
        let served = served(bundle.dir(), &images, folder.path());
        assert!(reported.len() > 20 && served.len() == 260);
        for (file, reported) in &reported {
            let difference = (served[file] - reported).abs();
            let most = 1e-5 * deviation;
            assert!(difference <= most, "{fit} {file}: {difference} of {most}");
        }
    }
}

/// As little as messages of the usual size allow, 80 MiB.
const SMALL_MEMORY: [&str; 2] = ["--max-request-memory-bytes", "83886080"];

fn blank(width: u32, height: u32) -> Vec<u8> {
    png(&GrayImage::new(width, height).into())
}

#[tokio::test]
async fn an_image_that_is_too_large_is_refused_by_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = [&["--max-image-pixels", "10000000"][..], &SMALL_MEMORY].concat();
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let mut client = client(&server).await;
    let before = peak_bytes(&server);
    for (file, part) in [
        (
            blank(4000, 2501),
            "expected at most 10000000 pixels (--max-image-pixels), got 4000 x 2501 = 10004000",
        ),
        (
            blank(3000, 3000),
            "expected an image that fits the server's memory, got one of 9000000 pixels",
        ),
        // Small, but with a long way from one pixel to 28.
        (blank(1, 5_000_000), "--max-request-memory-bytes "),
    ] {
        let status = client.score(encoded(file)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{part}: {status:?}");
        assert!(status.message().contains(part), "{part}: {status:?}");
    }
    let grown = peak_bytes(&server) - before;
    assert!(grown < 20 << 20, "{grown} bytes");
    for file in [
        blank(1, 1),
        blank(1, 5000),
        blank(5000, 1),
        blank(1200, 1200),
    ] {
        client.score(encoded(file)).await.unwrap();
    }
}

#[tokio::test]
async fn a_photograph_of_12_megapixels_is_scored_by_default() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(bundle(folder.path()).dir(), folder.path(), &[]);
    let mut client = client(&server).await;
    let photograph = ImageBuffer::from_pixel(4032, 3024, Rgb([200_u8, 100, 50]));
    // What follows the file's end is no part of the image, and held like the rest.
    let mut file = png(&photograph.into());
    file.resize((16 << 20) - 1024, 0);
    client.score(encoded(file)).await.unwrap();
}

/// The budget that a refusal says would suffice.
fn enough(refusal: &str) -> usize {
    let (_, after) = refusal.split_once("--max-request-memory-bytes ").unwrap();
    let number = after.split_once(" or more").unwrap().0;
    number.parse().unwrap()
}

#[tokio::test]
async fn what_never_fits_is_refused_at_once_and_told_exactly_what_would_suffice() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    // Decoded and with its file once it fits, and not with the file as often as it is held.
    let mut file = blank(640, 640);
    file.resize(3_000_000, 0);
    let request = encoded(file);
    let serve = |memory: usize| {
        let memory = memory.to_string();
        let flags = [
            "--max-message-bytes",
            "4000000",
            "--max-request-memory-bytes",
            &memory,
        ];
        Server::start(bundle.dir(), folder.path(), &flags)
    };
    let score = async |server: &Server, streams: bool| {
        let mut client = client(server).await;
        if !streams {
            return client.score(request.clone()).await.map(drop);
        }
        let item = ScoreStreamRequest {
            id: String::new(),
            request: Some(request.clone()),
        };
        let replies = client.score_stream(stream::iter([item])).await?;
        let reply = replies.into_inner().message().await?.unwrap();
        match reply.result.unwrap() {
            Scored::Score(_) => Ok(()),
            Scored::Error(status) => Err(Status::new(status.code.into(), status.message)),
        }
    };
    let little = serve(20_000_000);
    for streams in [false, true] {
        let refused = score(&little, streams).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        let enough = enough(refused.message());
        let refused = score(&serve(enough - 1), streams).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        score(&serve(enough), streams).await.unwrap();
    }
}

#[tokio::test]
async fn a_reply_that_never_fits_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let flags = [
        "--max-message-bytes",
        "65536",
        "--max-request-memory-bytes",
        "900000",
    ];
    let server = Server::start(bundle.dir(), folder.path(), &flags);
    let mut client = client(&server).await;
    let mut explain = async |chains| {
        let request = ExplainRequest {
            image: encoded(blank(28, 28)).image,
            inference: Some(InferenceParameters {
                chains: Some(chains),
                steps: Some(1),
                ..Default::default()
            }),
            ..Default::default()
        };
        client.explain(request).await
    };
    explain(8).await.unwrap();
    let refused = explain(64).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    assert!(
        refused.message().contains("got one of 64 chains"),
        "{refused:?}"
    );
    assert!(enough(refused.message()) > 900_000);
}

#[tokio::test]
async fn many_large_images_hold_no_more_than_the_budget() {
    const BUDGET: usize = 80 << 20;
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let server = Server::start(bundle.dir(), folder.path(), &SMALL_MEMORY);
    let client = client(&server).await;
    client.clone().score(encoded(blank(28, 28))).await.unwrap();
    let before = peak_bytes(&server);
    // The kind of file that takes most: 16 bits, with alpha.
    let image = ImageBuffer::from_pixel(1400, 1400, Rgba([40_000_u16, 1, 2, 50_000]));
    let file = png(&DynamicImage::ImageRgba16(image));
    let calls = (0..16).map(|_| {
        let mut client = client.clone();
        let request = ScoreRequest {
            priority: lfbm_wire::Priority::Bulk.into(),
            ..encoded(file.clone())
        };
        async move { client.score(request).await }
    });
    for reply in join_all(calls).await {
        reply.unwrap();
    }
    let grown = peak_bytes(&server) - before;
    assert!(grown < BUDGET + (16 << 20), "{grown} bytes");
}

#[tokio::test]
async fn what_a_mask_of_the_images_size_hides_has_no_part_in_the_score() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&shipped(), folder.path(), &[]);
    let mut client = client(&server).await;
    let (width, height) = (101, 67);
    let is_visible = |x: u32, y: u32| x < 70 || y % 30 > 20;
    let visible: Vec<u8> = (0..width * height)
        .map(|index| u8::from(is_visible(index % width, index / width)))
        .collect();
    let mask = Tensor {
        data_type: DataType::Uint8.into(),
        shape: vec![height.into(), width.into()],
        data: visible,
    };
    let request = |hidden: u8, mask: &Tensor| {
        let image = GrayImage::from_fn(width, height, |x, y| {
            let value = if is_visible(x, y) {
                (x * y % 256) as u8
            } else {
                hidden
            };
            [value].into()
        });
        ScoreRequest {
            mask: Some(mask.clone()),
            ..encoded(png(&image.into()))
        }
    };
    let mut log_joints = Vec::new();
    for hidden in [0, 255, 77] {
        let reply = client.score(request(hidden, &mask)).await.unwrap();
        log_joints.push(reply.into_inner().log_joint.to_bits());
    }
    assert_eq!(log_joints, [log_joints[0]; 3]);

    let explained = ExplainRequest {
        image: request(0, &mask).image,
        mask: Some(mask.clone()),
        ..Default::default()
    };
    let reply = client.explain(explained).await.unwrap().into_inner();
    let residual = reply.residual.unwrap().tensor.unwrap();
    assert_eq!(residual.shape, [1, 28, 28]);

    let hidden = Tensor {
        data: (0..width * height)
            .map(|index| u8::from(index % 2 == 0))
            .collect(),
        ..mask.clone()
    };
    let small = Tensor {
        shape: vec![28, 28],
        data: vec![1; 784],
        ..mask.clone()
    };
    for (mask, part) in [
        (
            hidden,
            "each of the model's 28 x 28 pixels takes in a hidden one",
        ),
        (
            small,
            "expected the image's [1, 67, 101] (1, H, W), got [28, 28]",
        ),
    ] {
        let status = client.score(request(0, &mask)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(status.message().contains(part), "{status:?}");
    }
}
