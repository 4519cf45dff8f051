//! Further normal images for a calibration, and for what it compares images with.

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use lfbm_bundle::manifest::Manifest;
use lfbm_bundle::{Bundle, ImageNames};
use lfbm_detector::sites::{Parts, SiteCalibration};
use lfbm_detector::{Calibration, Comparison, LocalCalibration, Score};
use lfbm_runtime::{Inference, SCORE_SEED};

use super::names;
use super::sites::{SitesOfImage, candidates, gathered, score_each};
use crate::data::{Dataset, Split};

/// Images that are scored at the same time.
const AT_ONCE: usize = 256;

/// A calibration that was extended.
pub struct Extension {
    /// The calibration.
    pub calibration: Calibration,
    /// The names of the images that it compares others with.
    pub names: ImageNames,
    /// Sites, or images, of the memory bank before.
    pub stored_before: usize,
    /// The same now.
    pub stored: usize,
    /// How many of those are new.
    pub added: usize,
    /// How far, in units of x, a distance to the nearest site can have risen because sites gave way to new
    /// ones. Of whole images, of which a random subset gives way, that is not known.
    pub farthest: Option<f32>,
    /// What the images of the calibration score.
    pub ranked: Vec<RankedImage>,
}

/// What an image scores that joined a calibration.
#[derive(Clone, Copy, Debug)]
pub struct RankedImage {
    /// log p(z) + log p(x|z).
    pub log_joint: f64,
    /// Its local score, or the score of its sites, before the extension.
    pub before: f64,
    /// The same since.
    pub now: f64,
}

/// Extends the calibration of the bundle `before` by images of `dataset`: those to train, by the split, join the memory bank, of
/// at most `most` sites or images; those to calibrate are scored with it, and their scores join the
/// ranked ones. `seed` decides what gives way.
///
/// # Errors
/// When chains diverge, a run fails, or `most` leaves too few images.
pub fn extend(
    inference: &mut Inference,
    before: &Bundle,
    dataset: &Dataset,
    split: &Split,
    most: usize,
    seed: u64,
) -> anyhow::Result<Extension> {
    let extending = Extending {
        inference,
        manifest: before.manifest(),
        before,
        dataset,
        split,
        most,
        seed,
    };
    match before.calibration().comparison() {
        Comparison::Local(local) => extending.whole(local),
        Comparison::Sites(sites) => extending.sites(sites),
    }
}

struct Extending<'a> {
    inference: &'a mut Inference,
    manifest: &'a Manifest,
    before: &'a Bundle,
    dataset: &'a Dataset,
    split: &'a Split,
    most: usize,
    seed: u64,
}

impl Extending<'_> {
    /// The names of the images that are stored now; `first` is the number of the first new one. A bundle without
    /// names keeps none.
    fn names(&self, calibration: &Calibration, first: u32) -> ImageNames {
        let mut names = self.before.names().clone();
        if !names.is_empty() {
            let stored = names::numbers(calibration);
            names.retain(|image| stored.contains(&image));
            let new = &self.split.train;
            names::name(&mut names, calibration, self.dataset, new, first);
        }
        names
    }

    fn sites(self, sites: &SiteCalibration) -> anyhow::Result<Extension> {
        let (dataset, split, manifest) = (self.dataset, self.split, self.manifest);
        let stored = sites.bank();
        eprintln!("choosing sites of {} images to store", split.train.len());
        let new = candidates(self.inference, manifest, dataset, &split.train, self.most)?;
        let first = stored.next_image();
        let numbers: Vec<u32> = new.images.iter().map(|image| first + image).collect();
        let extended = stored.extended(&new.x, &numbers, self.most, self.seed)?;

        let bar = progress("scoring", split.calibration.len());
        let images = gathered(dataset, &split.calibration, manifest.sites());
        let langevin = &manifest.langevin;
        let of = |scores: &[Score], x: &[f32]| {
            let before = SitesOfImage::new(stored, scores, x)?;
            Ok((before, extended.bank.distances(x)))
        };
        let scored = score_each(self.inference, langevin, images, of, |done| {
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        let score = |parts: &Parts| sites.score(parts).score;
        let (mut scores, mut parts, mut ranked) = (Vec::new(), Vec::new(), Vec::new());
        for (image, distance) in scored {
            let now = Parts {
                distance,
                ..image.parts.clone()
            };
            ranked.push(RankedImage {
                log_joint: image.score.log_joint,
                before: score(&image.parts),
                now: score(&now),
            });
            scores.push(image.score);
            parts.push(now);
        }
        let (stored_before, stored) = (stored.len(), extended.bank.len());
        let sites = sites.extended(extended.bank, &parts)?;
        let calibration = self.before.calibration().extended(&scores, sites)?;
        Ok(Extension {
            names: self.names(&calibration, first),
            calibration,
            stored_before,
            stored,
            added: extended.added,
            farthest: Some(extended.farthest),
            ranked,
        })
    }

    fn whole(self, local: &LocalCalibration) -> anyhow::Result<Extension> {
        let (dataset, split) = (self.dataset, self.split);
        let new = self.inference.preprocess(&dataset.gather(&split.train))?;
        let stored = local.memory_bank();
        let bank = stored
            .extended(&new, self.most, self.seed)
            .context("the memory bank cannot be extended")?;

        let bar = progress("scoring", split.calibration.len());
        let (mut scores, mut x): (Vec<Score>, Vec<f32>) = (Vec::new(), Vec::new());
        for images in split.calibration.chunks(AT_ONCE) {
            let images = dataset.gather(images);
            let before = scores.len();
            let langevin = &self.manifest.langevin;
            let scored = self
                .inference
                .score(&images, langevin, SCORE_SEED, &mut |done| {
                    bar.set_position((before + done) as u64);
                })?;
            scores.extend(scored);
            x.extend(self.inference.preprocess(&images)?);
        }
        bar.finish_and_clear();
        let diverged = |score: &&Score| !score.log_joint.is_finite();
        let diverged = scores.iter().filter(diverged).count();
        ensure!(
            diverged == 0,
            "{diverged} of the {} new calibration images have no finite score; inference diverges on them, so \
             the model needs a fit with a smaller inference.step_size",
            scores.len()
        );
        let log_joint: Vec<f64> = scores.iter().map(|score| score.log_joint).collect();
        let (stored_before, now) = (stored.len(), bank.len());
        let extended = local.extended(bank, &x, &log_joint)?;
        let images = x.chunks(dataset.pixels()).zip(&log_joint);
        let ranked = images.map(|(x, &log_joint)| {
            let score = |by: &LocalCalibration| by.score(&by.parts(x, log_joint));
            RankedImage {
                log_joint,
                before: score(local),
                now: score(&extended),
            }
        });
        let ranked = ranked.collect();
        let first = stored.next_number();
        let calibration = self.before.calibration().extended(&scores, extended)?;
        Ok(Extension {
            names: self.names(&calibration, first),
            calibration,
            stored_before,
            stored: now,
            added: split.train.len(),
            farthest: None,
            ranked,
        })
    }
}

/// A bar over so many images, on a terminal.
fn progress(what: &str, images: usize) -> ProgressBar {
    eprintln!("{what} {images} new normal images for the calibration");
    ProgressBar::new(images as u64)
}
