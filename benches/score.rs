//! `Score` end to end through gRPC on loopback, K = 20: one request at a time, and 64.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::join_all;
use lfbm_bundle::model::GeneratorName;
use lfbm_bundle::runtime::Runtime;
use lfbm_bundle::testing::random_bundle;
use lfbm_server::proto::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_server::proto::image::Content;
use lfbm_server::proto::{DataType, Image, ScoreRequest, Tensor};

const LATENT_DIM: usize = 16;
const WIDTH: usize = 16;

fn score(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("score");
    group.sample_size(20);
    for generator in [GeneratorName::Mlp, GeneratorName::Mnist] {
        let out = folder.path().join(generator.to_string());
        let bundle = random_bundle(&out, &runtime, generator, LATENT_DIM, WIDTH, 1).unwrap();
        let server = common::Server::start(bundle.dir(), folder.path(), &[]);
        let connect = AnomalyDetectorClient::connect(server.url.clone());
        let client = tokio.block_on(connect).unwrap();
        let request = ScoreRequest {
            image: Some(Image {
                content: Some(Content::Tensor(Tensor {
                    data_type: DataType::Uint8.into(),
                    shape: vec![1, 28, 28],
                    data: vec![100; bundle.manifest().image.pixels()],
                })),
            }),
            ..Default::default()
        };
        for at_once in [1, 64] {
            group.throughput(Throughput::Elements(at_once));
            group.bench_function(
                BenchmarkId::new(generator.to_string(), at_once),
                |bencher| {
                    bencher.iter(|| {
                        let calls = (0..at_once).map(|_| {
                            let (mut client, request) = (client.clone(), request.clone());
                            async move { client.score(request).await.unwrap() }
                        });
                        tokio.block_on(join_all(calls))
                    });
                },
            );
        }
    }
    group.finish();
}

criterion_group!(benches, score);
criterion_main!(benches);
