//! The iterations of a fit.

use std::path::Path;
use std::time::Instant;

use anyhow::bail;
use tch::{Kind, Tensor};

use super::checkpoints::Checkpoints;
use super::fit_events::FitEvents;
use crate::data::Dataset;
use crate::export::Run;
use crate::fit::{Batches, ERROR, Learner, Losses};
use crate::model::Observation;
use crate::progress::IterationProgress;
use crate::settings::Settings;
use crate::stop;

/// A fit of fewer iterations is a trial, of which nobody expects that it learns.
const JUDGED_ITERATIONS: u64 = 300;
/// Weight of an iteration in the running mean of the error.
const NEWEST: f64 = 0.05;
/// A model whose error is a larger part of the mean image's has learned nothing.
const NOTHING_LEARNED: f64 = 0.97;
/// Rows that the mean image is made of.
const JUDGED_ROWS: i64 = 4096;

/// Learns from the fitted images, whose masks are of bytes, to the end; fails when a signal stopped it.
pub(super) fn learn(
    learner: &mut Learner,
    run: &mut Run,
    fitted: &Observation,
    checkpoints: &mut Checkpoints,
    events: &mut FitEvents,
    out: &Path,
) -> anyhow::Result<()> {
    let (x, masks) = (&fitted.x, fitted.mask.as_ref());
    let device = x.device();
    let settings = run.settings.clone();
    let total = settings.learning.iterations;
    let batch_size = settings.learning.batch_size;
    let mut batches = Batches::new(x.size()[0] as usize, batch_size, settings.seed);
    let progress = IterationProgress::new(
        "iteration",
        learner.iteration(),
        total,
        batch_size,
        settings.run.log_every,
    );
    let mut error = RunningError::default();
    let (started, before) = (Instant::now(), run.seconds);
    // A signal waits until the checkpoint is written.
    let held = stop::hold();
    while learner.iteration() < total {
        let iteration = learner.iteration();
        let indices = Tensor::from_slice(batches.batch(iteration)).to_device(device);
        let seen = fitted.rows(&indices);
        let losses = learner.iterate(&seen);
        if !losses.are_finite() {
            bail!(
                "iteration {iteration} diverged ({losses}); {}; lower \
                 learning.langevin.step_size, raise model.sigma, or lower the learning rates",
                checkpoints.last_good()
            );
        }
        let done = learner.iteration();
        error.observe(&losses, learner.sigma());
        progress.iteration(done, &losses);
        let stopped = stop::requested();
        events.iteration(learner, &losses, stopped.is_some() || done == total);
        if stopped.is_some() || done == total || done.is_multiple_of(settings.run.checkpoint_every)
        {
            run.seconds = before + started.elapsed().as_secs_f64();
            checkpoints.save(learner, run);
            stop::keep(checkpoints.kept(done, total, out));
            if run.representation.is_whole_image() {
                events.reconstructions(learner, &run.image, x, masks);
            }
        }
        if let Some(stopped) = stopped {
            bail!(stopped);
        }
    }
    drop(held);
    if total >= JUDGED_ITERATIONS && masks.is_none() {
        error.check(x, learner, &checkpoints.last_good())?;
    }
    Ok(())
}

/// The mean of |x - g(z)|^2 over the last iterations.
#[derive(Default)]
struct RunningError(Option<f64>);

impl RunningError {
    fn observe(&mut self, losses: &Losses, sigma: f64) {
        let Some(loss) = losses.0.iter().find(|loss| loss.name == ERROR) else {
            return;
        };
        let square = loss.value * 2.0 * sigma * sigma;
        let mean = self.0.get_or_insert(square);
        *mean += NEWEST * (square - *mean);
    }

    /// Fails when the generator's x are no nearer than the mean of all.
    fn check(&self, x: &Tensor, learner: &Learner, kept: &str) -> anyhow::Result<()> {
        let rows = x.narrow(0, 0, x.size()[0].min(JUDGED_ROWS));
        let mean = rows.mean_dim([0_i64].as_slice(), true, Kind::Float);
        let square = (&rows - mean).square().sum(Kind::Double).double_value(&[]);
        let of_mean = square / rows.size()[0] as f64;
        let Some(error) = self.0.filter(|error| *error > NOTHING_LEARNED * of_mean) else {
            return Ok(());
        };
        let step_size = learner.step_size().unwrap_or(f64::NAN);
        bail!(
            "nothing was learned: what the model makes is no nearer to the images (mean square error \
             {error:.3}) than their mean is ({of_mean:.3}); {kept}; fit with a smaller model.sigma, a \
             learning.langevin.step_size below {step_size:.3} or learning.langevin.adapt_step_size=true, \
             learning.langevin.from_encoder=true, --inference vae, or more learning.iterations"
        );
    }
}

/// The masks of incomplete images at `indices`, bytes of shape (n, 1, H, W).
pub(super) fn visible(settings: &Settings, dataset: &Dataset, indices: &[usize]) -> Option<Tensor> {
    let masks = settings.learning.incomplete.masks(dataset, indices)?;
    let [height, width] = [dataset.height, dataset.width].map(|size| size as i64);
    let masks = Tensor::from_slice(&masks).view([-1, 1, height, width]);
    Some(masks.to_kind(Kind::Uint8))
}
