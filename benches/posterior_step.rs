//! One Langevin step, both generators: the server's whole cost. `mlp/f32/1x16` is a batch of 16 rows
//! on one thread, with products in single precision; in the last of a precision, every core steps a
//! batch of its own.

#![allow(clippy::unwrap_used, missing_docs)]

use std::thread;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lfbm_bundle::manifest::Manifest;
use lfbm_model::GeneratorName;
use lfbm_runtime::{ChainGraphs, Device, PosteriorStep, Precision, Runtime, SessionOptions};
use lfbm_testkit::{StepRows, benchmark_bundle};

/// What a thread of the server has when it is full.
const FULL: usize = 64;

fn steps(posterior: &mut PosteriorStep, manifest: &Manifest, rows: usize, count: u64) {
    let mut rows = StepRows::new(manifest, rows);
    for _ in 0..count {
        rows.step(posterior).unwrap();
    }
}

fn posterior_step(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let mut group = criterion.benchmark_group("posterior_step");
    for generator in [GeneratorName::Mlp, GeneratorName::Mnist] {
        let out = folder.path().join(generator.to_string());
        let bundle = benchmark_bundle(&out, &runtime, generator).unwrap();
        let manifest = bundle.manifest();
        for &precision in Precision::of(Device::Cpu) {
            if precision.check(Device::Cpu).is_err() {
                continue;
            }
            let options = SessionOptions {
                precision,
                ..SessionOptions::default()
            };
            let mut workers =
                ChainGraphs::open(&runtime, bundle.dir(), manifest, &options).unwrap();
            for (threads, rows) in [(1, 1), (1, 16), (1, FULL), (workers.len(), FULL)] {
                group.throughput(Throughput::Elements((threads * rows) as u64));
                let name = format!("{generator}/{precision}");
                let id = BenchmarkId::new(name, format!("{threads}x{rows}"));
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|count| {
                        let started = Instant::now();
                        thread::scope(|scope| {
                            for graphs in &mut workers[..threads] {
                                scope.spawn(|| steps(&mut graphs.posterior, manifest, rows, count));
                            }
                        });
                        started.elapsed()
                    });
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, posterior_step);
criterion_main!(benches);
