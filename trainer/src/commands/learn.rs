//! The iterations of a fit.

use std::path::Path;
use std::time::Instant;

use anyhow::{bail, ensure};
use tch::{Kind, Tensor};

use super::checkpoints::Checkpoints;
use super::fit_events::FitEvents;
use crate::data::Dataset;
use crate::export::Run;
use crate::fit::{Batches, Learner};
use crate::model::Observation;
use crate::progress::IterationProgress;
use crate::settings::Settings;
use crate::stop;

/// A fit of fewer iterations is a trial, of which nobody expects that it learns.
const JUDGED_ITERATIONS: u64 = 300;
/// A model whose error is a larger part of the mean image's has learned nothing.
const NOTHING_LEARNED: f64 = 0.97;
/// Rows of x that this is judged by, at most, ...
pub(super) const JUDGED_ROWS: usize = 512;
/// ... and so many of them at the same time.
const JUDGED_AT_ONCE: usize = 64;

/// Learns from the fitted images, whose masks are of bytes, to the end; fails when a signal stopped it, or nothing
/// was learned.
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
    check_learned(learner, fitted)
}

/// Fails when the generator's x are no nearer to those of the fit than the mean of all is. Trials and incomplete images
/// are not judged.
pub(super) fn check_learned(learner: &Learner, fitted: &Observation) -> anyhow::Result<()> {
    if learner.iteration() < JUDGED_ITERATIONS || fitted.mask.is_some() {
        return Ok(());
    }
    let rows = fitted.x.size()[0];
    let count = rows.min(JUDGED_ROWS as i64);
    let spread: Vec<i64> = (0..count).map(|index| index * rows / count).collect();
    let seen = |some: &[i64]| fitted.rows(&Tensor::from_slice(some).to_device(fitted.x.device()));
    let square = |error: Tensor| error.square().sum(Kind::Double).double_value(&[]);
    let x = seen(&spread).x;
    let of_mean = square(&x - x.mean_dim([0_i64].as_slice(), true, Kind::Float)) / count as f64;
    let errors = spread.chunks(JUDGED_AT_ONCE).map(|some| {
        let seen = seen(some);
        square(&seen.x - learner.reconstruct(&seen))
    });
    let error = errors.sum::<f64>() / count as f64;
    let chains = learner.step_size().map_or_else(String::new, |step_size| {
        format!(
            "a learning.langevin.step_size below {step_size:.3} or learning.langevin.adapt_step_size=true, \
             learning.langevin.from_encoder=true, --inference vae, "
        )
    });
    ensure!(
        error <= NOTHING_LEARNED * of_mean,
        "nothing was learned: what the model makes is no nearer to the images (mean square error \
         {error:.3}) than their mean is ({of_mean:.3}), and so no bundle is made of it; fit again, with --overwrite \
         and a smaller model.sigma, {chains}or more learning.iterations"
    );
    Ok(())
}

/// The masks of incomplete images at `indices`, bytes of shape (n, 1, H, W).
pub(super) fn visible(settings: &Settings, dataset: &Dataset, indices: &[usize]) -> Option<Tensor> {
    let masks = settings.learning.incomplete.masks(dataset, indices)?;
    let [height, width] = [dataset.height, dataset.width].map(|size| size as i64);
    let masks = Tensor::from_slice(&masks).view([-1, 1, height, width]);
    Some(masks.to_kind(Kind::Uint8))
}
