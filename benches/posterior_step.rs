//! One Langevin step, both generators: the server's whole cost. `mlp/f32/1x16` is a batch of 16 rows
//! on one thread, with products in single precision; in the last of a precision, every core steps a
//! batch of its own.

#![allow(clippy::unwrap_used, missing_docs)]

use std::thread;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lfbm_bundle::manifest::Manifest;
use lfbm_model::GeneratorName;
use lfbm_runtime::{
    ChainGraphs, Device, PosteriorStep, Precision, Runtime, SessionOptions, StepInputs, StepOutputs,
};
use lfbm_testkit::random_bundle;

const LATENT_DIM: usize = 16;
const WIDTH: usize = 16;
/// What a thread of the server has when it is full.
const FULL: usize = 64;

fn steps(posterior: &mut PosteriorStep, manifest: &Manifest, rows: usize, count: u64) {
    let (d, pixels) = (manifest.latent_dim, manifest.image.pixels());
    let (z, noise) = (vec![0.3; rows * d], vec![0.1; rows * d]);
    let (x, mask) = (vec![0.2; rows * pixels], vec![1.0; rows * pixels]);
    let (step_size, noise_scale) = (vec![0.1; rows], vec![1.0; rows]);
    let mut z_next = vec![0.0; rows * d];
    let (mut log_prior, mut log_likelihood) = (vec![0.0; rows], vec![0.0; rows]);
    for _ in 0..count {
        let inputs = StepInputs {
            z: &z,
            x: &x,
            mask: &mask,
            noise: &noise,
            step_size: &step_size,
            noise_scale: &noise_scale,
        };
        let outputs = StepOutputs {
            z_next: &mut z_next,
            log_prior: &mut log_prior,
            log_likelihood: &mut log_likelihood,
            reconstruction: None,
        };
        posterior.run(rows, inputs, outputs).unwrap();
    }
}

fn posterior_step(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let mut group = criterion.benchmark_group("posterior_step");
    for generator in [GeneratorName::Mlp, GeneratorName::Mnist] {
        let out = folder.path().join(generator.to_string());
        let bundle = random_bundle(&out, &runtime, generator, LATENT_DIM, WIDTH, 1).unwrap();
        let manifest = bundle.manifest();
        for &precision in Precision::of(Device::Cpu) {
            if precision.check(Device::Cpu).is_err() {
                continue;
            }
            let options = SessionOptions {
                precision,
                ..SessionOptions::default()
            };
            let mut lanes = ChainGraphs::open(&runtime, bundle.dir(), manifest, &options).unwrap();
            for (threads, rows) in [(1, 1), (1, 16), (1, FULL), (lanes.len(), FULL)] {
                group.throughput(Throughput::Elements((threads * rows) as u64));
                let name = format!("{generator}/{precision}");
                let id = BenchmarkId::new(name, format!("{threads}x{rows}"));
                group.bench_function(id, |bencher| {
                    bencher.iter_custom(|count| {
                        let started = Instant::now();
                        thread::scope(|scope| {
                            for lane in &mut lanes[..threads] {
                                scope.spawn(|| steps(&mut lane.posterior, manifest, rows, count));
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
