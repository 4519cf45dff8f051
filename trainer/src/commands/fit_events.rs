//! What a fit shows in TensorBoard.

use std::io;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use lfbm_bundle::manifest::{CalibrationSummary, ImageSpec};
use tch::{Kind, Tensor};

use crate::evaluate::reconstructions_page;
use crate::fit::{Learner, Losses};
use crate::model::Observation;
use crate::model::host::values;
use crate::output::{is_within, prepare_folder};
use crate::tensorboard::EventFile;

/// Iterations from one point of a curve to the next.
const EVERY: u64 = 10;
/// Images in the picture.
const SHOWN: i64 = 8;

/// The event file of a fit; writes nothing if there is none.
pub(super) struct FitEvents {
    /// `None` also after an event that could not be written: a fit does not fail by it.
    file: Option<EventFile>,
    batch_size: usize,
    /// When the last scalars were written, and the iteration.
    last: (Instant, u64),
}

/// Makes the folder that events come to.
///
/// # Errors
/// When it would be inside the bundle at `out`, which is not there yet, or cannot be written to.
pub(super) fn prepare_events(folder: &Path, out: &Path) -> anyhow::Result<()> {
    ensure!(
        !is_within(folder, out)?,
        "--tensorboard {} would be where the bundle comes to; name another folder",
        folder.display()
    );
    Ok(prepare_folder(folder)?)
}

impl FitEvents {
    /// Writes to `folder`, if there is one, from iteration `first` on.
    ///
    /// # Errors
    /// When the folder cannot be written to.
    pub(super) fn open(
        folder: Option<&Path>,
        first: u64,
        batch_size: usize,
    ) -> anyhow::Result<Self> {
        let file = folder.map(|folder| {
            let place = || format!("--tensorboard {}", folder.display());
            EventFile::create(folder, first).with_context(place)
        });
        Ok(Self {
            file: file.transpose()?,
            batch_size,
            last: (Instant::now(), first),
        })
    }

    /// Adds the numbers of the learner's last iteration, if it is their turn or `is_last`.
    pub(super) fn iteration(&mut self, learner: &Learner, losses: &Losses, is_last: bool) {
        let done = learner.iteration();
        if self.file.is_none() || !(is_last || done.is_multiple_of(EVERY)) {
            return;
        }
        let mut scalars = Vec::new();
        for loss in &losses.0 {
            scalars.push((format!("loss/{}", loss.name), loss.value));
            scalars.push((format!("gradient_norm/{}", loss.name), loss.gradient_norm));
        }
        scalars.push(("model/sigma".to_owned(), learner.sigma()));
        if let Some(step_size) = learner.step_size() {
            scalars.push(("langevin/step_size".to_owned(), step_size));
        }
        let (before, iteration) = self.last;
        let images = (done - iteration) as f64 * self.batch_size as f64;
        let images_per_s = images / before.elapsed().as_secs_f64();
        scalars.push(("speed/images_per_s".to_owned(), images_per_s));
        self.last = (Instant::now(), done);
        self.write(|file| file.scalars(done, &scalars));
    }

    /// Adds a picture of the first images of the fit, what the model makes of them, and the differences. `x`
    /// are the pixels of all images, and `masks` say which of them are visible.
    pub(super) fn reconstructions(
        &mut self,
        learner: &Learner,
        spec: &ImageSpec,
        x: &Tensor,
        masks: Option<&Tensor>,
    ) {
        if self.file.is_none() {
            return;
        }
        let few = |rows: &Tensor| rows.narrow(0, 0, rows.size()[0].min(SHOWN));
        let few = Observation {
            x: few(x),
            mask: masks.map(|masks| few(masks).to_kind(Kind::Float)),
        };
        let [images, made] = [&few.x, &learner.reconstruct(&few)].map(values);
        let page = reconstructions_page(spec, &images, &made);
        let done = learner.iteration();
        self.write(|file| {
            let page = page.map_err(io::Error::other)?;
            file.picture(done, "reconstructions", &page)
        });
    }

    /// Adds what the bundle's calibration says of held-out normal images.
    pub(super) fn calibration(&mut self, iteration: u64, calibration: &CalibrationSummary) {
        let quantiles = calibration.quantiles.iter().map(|quantile| {
            let tag = format!("calibration/log_joint/quantile_{}", quantile.probability);
            (tag, quantile.log_joint)
        });
        let threshold = calibration.deciding_threshold();
        let threshold = threshold.map(|threshold| {
            let tag = format!("calibration/threshold/{}", calibration.decision);
            (tag, threshold)
        });
        let scalars: Vec<_> = quantiles.chain(threshold).collect();
        self.write(|file| file.scalars(iteration, &scalars));
    }

    fn write(&mut self, write: impl FnOnce(&mut EventFile) -> io::Result<()>) {
        let Some(file) = &mut self.file else {
            return;
        };
        if let Err(error) = write(file) {
            eprintln!(
                "{} cannot be written, and the fit goes on without it: {error}",
                file.path().display()
            );
            self.file = None;
        }
    }
}
