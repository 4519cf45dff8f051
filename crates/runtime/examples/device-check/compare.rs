//! Every architecture on the device, beside the CPU.

use anyhow::ensure;
use lfbm_bundle::Bundle;
use lfbm_runtime::{
    ChainNoise, ChainSizes, ChainStarts, Device, Generator, PosteriorStep, Preprocess,
    SessionOptions,
};
use lfbm_testkit::random_images;
use serde::Serialize;

use crate::context::{Context, Model};
use crate::differences::{Differences, largest};
use crate::report::{Report, Row};
use crate::trace::{Chains, Run, SEED, STEPS};

/// How far a score may be from the CPU's, in nats.
pub const BOUND_NATS: f64 = 1e-2;
/// How far an x, a value of the generator or of a start may be; they are of the order of 1.
const BOUND_VALUE: f64 = 1e-3;
/// Images that are preprocessed.
const IMAGES: usize = 4;

/// The comparison of a model.
#[derive(Serialize)]
struct Comparison {
    model: String,
    rows: usize,
    steps: u32,
    bound_nats: f64,
    bound_value: f64,
    /// Of x.
    preprocess: f64,
    /// Of g(z).
    generator: f64,
    /// Of z_0.
    start: f64,
    /// The largest of K + 1 steps, each from where the CPU's chain was.
    one_step: Differences,
    /// Of the run after K steps that each took by itself.
    all_steps: Differences,
    /// Of the CPU's chains, without its sign.
    largest_score_nats: f64,
    passed: bool,
}

impl Row for Comparison {
    fn passed(&self) -> bool {
        self.passed
    }
}

/// A model's graphs on a device.
struct Graphs {
    preprocess: Preprocess,
    generator: Generator,
    starts: ChainStarts,
    posterior: PosteriorStep,
    sizes: ChainSizes,
}

impl Graphs {
    fn open(context: &Context, bundle: &Bundle, options: &SessionOptions) -> anyhow::Result<Self> {
        let (runtime, dir, manifest) = (&context.runtime, bundle.dir(), bundle.manifest());
        Ok(Self {
            preprocess: Preprocess::open(runtime, dir, manifest, options)?,
            generator: Generator::open(runtime, dir, manifest, options)?,
            starts: ChainStarts::open(runtime, dir, manifest, options)?,
            posterior: context.posterior(bundle, options)?,
            sizes: ChainSizes::new(manifest),
        })
    }

    fn x(&mut self, images: &[f32]) -> anyhow::Result<Vec<f32>> {
        let values = IMAGES * self.sizes.sites.unwrap_or(1) * self.sizes.values;
        let mut x = vec![0.0; values];
        self.preprocess.run(IMAGES, images, &mut x)?;
        Ok(x)
    }

    fn generated(&mut self, z: &[f32]) -> anyhow::Result<Vec<f32>> {
        let rows = z.len() / self.sizes.latent_dim;
        let mut x = vec![0.0; rows * self.sizes.values];
        self.generator.run(rows, z, &mut x)?;
        Ok(x)
    }

    fn start(&mut self, x: &[f32]) -> anyhow::Result<Vec<f32>> {
        let (d, rows) = (self.sizes.latent_dim, x.len() / self.sizes.values);
        let mut noise = vec![0.0; rows * d];
        for (row, values) in (0..).zip(noise.chunks_mut(d)) {
            self.starts.draw(&ChainNoise::new(SEED, row), values);
        }
        let mut z = vec![0.0; rows * d];
        self.starts.run(rows, x, &noise, &mut z)?;
        Ok(z)
    }
}

/// Values from N(0, 1), of another seed than chains have.
fn normal(count: usize, stream: u32) -> Vec<f32> {
    let mut values = vec![0.0; count];
    ChainNoise::new(SEED + 1, stream).initial(&mut values);
    values
}

/// Compares every model.
pub fn check(context: &Context, report: &mut Report) -> anyhow::Result<()> {
    let rows = if context.quick { 8 } else { 64 };
    for model in context.compared() {
        report.attempt(&model.name(), |report| {
            report.row(&compare(context, &model, rows)?)
        })?;
    }
    Ok(())
}

fn compare(context: &Context, model: &Model, rows: usize) -> anyhow::Result<Comparison> {
    let bundle = context.bundle(model)?;
    let manifest = bundle.manifest();
    let cpu = SessionOptions {
        device: Device::Cpu,
        ..SessionOptions::default()
    };
    let mut on_cpu = Graphs::open(context, &bundle, &cpu)?;
    let mut on_device = Graphs::open(context, &bundle, &context.options())?;
    let images = random_images(&manifest.image, IMAGES, SEED);
    let preprocess = largest(&on_device.x(&images)?, &on_cpu.x(&images)?);
    let latents = normal(rows * manifest.latent_dim, 0);
    let made = on_cpu.generated(&latents)?;
    let generator = largest(&on_device.generated(&latents)?, &made);
    // What the model explains up to its sigma, and chains from where it does. Elsewhere the likelihood is of
    // ten thousands of nats, of which single precision tells no hundredths.
    let deviations = normal(made.len(), 1);
    let x: Vec<f32> = (made.iter().zip(deviations))
        .map(|(made, deviation)| made + manifest.sigma * deviation)
        .collect();
    let start = largest(&on_device.start(&x)?, &on_cpu.start(&x)?);
    let mut chains = Chains::new(manifest, x, latents);
    let expected = chains.follow(&mut on_cpu.posterior)?;
    let moved = expected.first().map(|run| &run.z_next) != expected.last().map(|run| &run.z_next);
    ensure!(moved, "the chains on the CPU do not move");
    let got = chains.follow(&mut on_device.posterior)?;
    let single = chains.single_steps(&mut on_device.posterior, &expected)?;
    let one_step = worst(&single, &expected);
    let all_steps = worst(got.last().as_slice(), expected.last().as_slice());
    let scores = expected.iter().flat_map(Run::scores);
    let largest_score_nats = scores.map(f64::abs).fold(0.0, f64::max);
    let values = [preprocess, generator, start];
    Ok(Comparison {
        model: model.name(),
        rows,
        steps: STEPS,
        bound_nats: BOUND_NATS,
        bound_value: BOUND_VALUE,
        preprocess,
        generator,
        start,
        one_step,
        all_steps,
        largest_score_nats,
        passed: one_step.score_nats <= BOUND_NATS
            && all_steps.score_nats <= BOUND_NATS
            && values.iter().all(|difference| *difference <= BOUND_VALUE),
    })
}

/// The largest differences of runs.
pub fn worst<R: std::borrow::Borrow<Run>>(got: &[R], expected: &[R]) -> Differences {
    let pairs = got.iter().zip(expected);
    pairs.fold(Differences::default(), |worst, (got, expected)| {
        worst.max(Differences::between(got.borrow(), expected.borrow()))
    })
}
