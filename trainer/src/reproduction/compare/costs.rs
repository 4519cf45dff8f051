//! The costs of models: numbers of parameters, and times of learning and sampling, which are measured in turns, so
//! that other work on the machine slows all models alike.

use std::collections::BTreeMap;
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

/// The costs of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// Images in a batch; fewer in learning where the fit has fewer.
    pub batch: u32,
    /// Seconds of an epoch: those of an iteration times the number of batches.
    pub epoch_s: f64,
    /// Sampling a batch of latents of the prior and generating their images, in milliseconds.
    pub sample_batch_ms: f64,
    /// Learned parameters, by the name of the part: `prior`, `generator` and, if there is one, `encoder`.
    pub parameters: BTreeMap<String, u64>,
}

/// Times fresh learners under each of `settings`, and the sampler of the bundle beside it, on batches of `batch`
/// images.
///
/// # Errors
/// When a bundle cannot be opened or a run fails.
pub fn costs(
    models: &[(Settings, &Path)],
    dataset: &Dataset,
    split: &Split,
    batch: u32,
    device: Device,
) -> anyhow::Result<Vec<Costs>> {
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
        let size = (batch as usize).min(split.train.len());
        let shape = [size, image.channels, image.height, image.width].map(|v| v as i64);
        let images = dataset.gather(&split.train[..size]);
        let seen = Observation {
            x: host::to_device(&images, &shape, device) * 2.0 - 1.0,
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
            sampler.sample(batch as usize, round as u64)?;
            let sample = started.elapsed().as_secs_f64();
            if round > 0 {
                iterations.push(iteration);
                samples.push(sample);
            }
        }
    }
    let timings = subjects.iter().zip(rounds);
    Ok(timings
        .map(|((learner, .., batches), (iterations, samples))| Costs {
            batch,
            epoch_s: batches * median(iterations),
            sample_batch_ms: 1e3 * median(samples),
            parameters: learner
                .parameters()
                .map(|(part, count)| (part.to_owned(), count))
                .collect(),
        })
        .collect())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
