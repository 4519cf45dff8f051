//! One Langevin step, both generators, batches of 1, 16, 64 and 128: the server's whole cost.

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lfbm_bundle::model::GeneratorName;
use lfbm_bundle::runtime::{PosteriorStep, Runtime, SessionOptions, StepInputs, StepOutputs};
use lfbm_bundle::testing::random_bundle;

const LATENT_DIM: usize = 16;
const WIDTH: usize = 16;

fn posterior_step(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let runtime = Runtime::load(None).unwrap();
    let mut group = criterion.benchmark_group("posterior_step");
    for generator in [GeneratorName::Mlp, GeneratorName::Mnist] {
        let out = folder.path().join(generator.to_string());
        let bundle = random_bundle(&out, &runtime, generator, LATENT_DIM, WIDTH, 1).unwrap();
        let manifest = bundle.manifest();
        let options = SessionOptions::default();
        let mut step = PosteriorStep::open(&runtime, bundle.dir(), manifest, &options).unwrap();
        for rows in [1, 16, 64, 128] {
            let (d, pixels) = (manifest.latent_dim, manifest.image.pixels());
            let (z, noise) = (vec![0.3; rows * d], vec![0.1; rows * d]);
            let (x, mask) = (vec![0.2; rows * pixels], vec![1.0; rows * pixels]);
            let (step_size, noise_scale) = (vec![0.1; rows], vec![1.0; rows]);
            let mut z_next = vec![0.0; rows * d];
            let (mut log_prior, mut log_likelihood) = (vec![0.0; rows], vec![0.0; rows]);
            group.throughput(Throughput::Elements(rows as u64));
            group.bench_function(BenchmarkId::new(generator.to_string(), rows), |bencher| {
                bencher.iter(|| {
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
                    step.run(rows, inputs, outputs).unwrap();
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, posterior_step);
criterion_main!(benches);
