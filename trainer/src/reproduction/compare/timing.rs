//! The costs of learning and sampling, measured in turns, so that other work on the machine slows all
//! models alike.

use std::path::Path;
use std::time::Instant;

use lfbm_bundle::Bundle;
use lfbm_runtime::{Runtime, Sampler, SessionOptions};
use serde::{Deserialize, Serialize};
use tch::Device;

use crate::data::{Dataset, Split};
use crate::fit::Learner;
use crate::model::{Observation, host};
use crate::settings::Settings;

/// Rounds with one turn per model; the median is reported.
const ROUNDS: usize = 9;
/// Images in a sampled batch: the paper's.
pub const SAMPLED: usize = 100;

/// The costs of a model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Seconds of an epoch: those of an iteration times the number of batches.
    pub epoch_s: f64,
    /// Sampling a batch of [`SAMPLED`] latents of the prior and generating their images, in
    /// milliseconds.
    pub sample_batch_ms: f64,
}

/// Times fresh learners under each of `settings`, and the sampler of the bundle beside it.
///
/// # Errors
/// When a bundle cannot be opened or a run fails.
pub fn time_models(
    models: &[(Settings, &Path)],
    dataset: &Dataset,
    split: &Split,
    device: Device,
) -> anyhow::Result<Vec<Timing>> {
    let runtime = Runtime::load(None)?;
    let options = SessionOptions::default();
    let mut subjects = Vec::with_capacity(models.len());
    for (settings, bundle) in models {
        let image = settings.image(dataset);
        let learner = Learner::new(
            &settings.architecture(image.shape()),
            &settings.inference(image.shape()),
            settings.learning(),
            settings.seed,
            device,
        )?;
        let size = settings.learning.batch_size.min(split.train.len());
        let shape = [size, image.channels, image.height, image.width].map(|v| v as i64);
        let batch = dataset.gather(&split.train[..size]);
        let seen = Observation {
            x: host::to_device(&batch, &shape, device) * 2.0 - 1.0,
            mask: None,
        };
        let bundle = Bundle::open(bundle)?;
        let sampler = Sampler::open(&runtime, bundle.dir(), bundle.manifest(), &options)?;
        let batches = split.train.len() / size;
        subjects.push((learner, seen, sampler, batches as f64));
    }
    let mut rounds = vec![(Vec::new(), Vec::new()); models.len()];
    // The first round warms up.
    for round in 0..=ROUNDS {
        for ((learner, seen, sampler, _), (iterations, samples)) in
            subjects.iter_mut().zip(&mut rounds)
        {
            let started = Instant::now();
            learner.iterate(seen);
            let iteration = started.elapsed().as_secs_f64();
            let started = Instant::now();
            sampler.sample(SAMPLED, round as u64)?;
            let sample = started.elapsed().as_secs_f64();
            if round > 0 {
                iterations.push(iteration);
                samples.push(sample);
            }
        }
    }
    let timings = subjects.iter().zip(rounds);
    Ok(timings
        .map(|((.., batches), (iterations, samples))| Timing {
            epoch_s: batches * median(iterations),
            sample_batch_ms: 1e3 * median(samples),
        })
        .collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
