//! Scores through gRPC on loopback, K = 20, seconds an image: one at a time, so many calls of `Score`
//! that no row of the batch is idle, one `ScoreStream` and calls of `ModelInfer` (`batches`) with as
//! many under way.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "load/mod.rs"]
mod load;

use std::future::ready;
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use futures_util::{StreamExt, stream};
use lfbm_model::GeneratorName;
use lfbm_runtime::{Device, Precision, Runtime};
use lfbm_testkit::benchmark_bundle;
use lfbm_wire::ScoreRequest;
use lfbm_wire::anomaly_detector_client::AnomalyDetectorClient;
use lfbm_wire::inference::ModelInferRequest;
use lfbm_wire::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use lfbm_wire::inference::model_infer_request::InferInputTensor;
use tonic::transport::Channel;

use load::{one_stream, request};

/// On two cores, as many wait as run.
const SATURATION: usize = 256;
/// Images of a call of `ModelInfer`.
const BATCH: usize = 64;
/// Of an image.
const SHAPE: [usize; 3] = [1, 28, 28];

async fn calls(
    client: AnomalyDetectorClient<Channel>,
    request: ScoreRequest,
    images: u64,
    at_once: usize,
) {
    let calls = (0..images).map(|_| {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.score(request).await.unwrap() }
    });
    let answers = stream::iter(calls).buffer_unordered(at_once);
    answers.for_each(|_| ready(())).await;
}

async fn batches(client: GrpcInferenceServiceClient<Channel>, images: u64) {
    let image = vec![100; SHAPE.iter().product()];
    let calls = (0..images as usize).step_by(BATCH).map(|first| {
        let count = BATCH.min(images as usize - first);
        let shape = [count].into_iter().chain(SHAPE);
        let request = ModelInferRequest {
            inputs: vec![InferInputTensor {
                name: "image".to_owned(),
                datatype: "UINT8".to_owned(),
                shape: shape.map(|size| size as i64).collect(),
                ..Default::default()
            }],
            raw_input_contents: vec![image.repeat(count)],
            ..Default::default()
        };
        let mut client = client.clone();
        async move {
            let answer = client.model_infer(request).await.unwrap();
            assert_eq!(answer.into_inner().outputs[0].shape, [count as i64]);
        }
    });
    let answers = stream::iter(calls).buffer_unordered(SATURATION / BATCH);
    answers.for_each(|()| ready(())).await;
}

fn score(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut group = criterion.benchmark_group("score");
    // Long samples: at its ends, a load does not fill the batch.
    group.sample_size(10);
    group.sampling_mode(SamplingMode::Flat);
    group.measurement_time(Duration::from_secs(20));
    group.throughput(Throughput::Elements(1));
    for generator in [GeneratorName::Mlp, GeneratorName::Mnist] {
        let out = folder.path().join(generator.to_string());
        let bundle = benchmark_bundle(&out, &runtime, generator).unwrap();
        for precision in Precision::of(Device::Cpu) {
            if precision.check(Device::Cpu).is_err() {
                continue;
            }
            let name = precision.to_string();
            let server =
                common::Server::start(bundle.dir(), folder.path(), &["--precision", &name]);
            let connect = AnomalyDetectorClient::connect(server.url.clone());
            let client = tokio.block_on(connect).unwrap();
            let connect = GrpcInferenceServiceClient::connect(server.url.clone());
            let batch_client = tokio.block_on(connect).unwrap();
            let request = request(SHAPE);
            for at_once in [1, SATURATION] {
                let id = BenchmarkId::new(format!("{generator}/{name}"), at_once);
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|images| {
                        let started = Instant::now();
                        tokio.block_on(calls(client.clone(), request.clone(), images, at_once));
                        started.elapsed()
                    });
                });
            }
            let id = BenchmarkId::new(format!("{generator}/{name}"), "stream");
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|images| {
                    let started = Instant::now();
                    tokio.block_on(one_stream(client.clone(), request.clone(), images));
                    started.elapsed()
                });
            });
            let id = BenchmarkId::new(format!("{generator}/{name}"), "batches");
            group.bench_function(id, |bencher| {
                bencher.iter_custom(|images| {
                    let started = Instant::now();
                    tokio.block_on(batches(batch_client.clone(), images));
                    started.elapsed()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, score);
criterion_main!(benches);
