//! The calibration of a model of sites.

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use lfbm_bundle::manifest::{Langevin, Manifest};
use lfbm_detector::sites::{Parts, SiteBank, SiteCalibration, SiteGrid, sum_sites};
use lfbm_detector::{Calibration, Score};
use lfbm_runtime::{Inference, SCORE_SEED};
use rayon::prelude::*;

use super::site_rule::choose_rule;
use crate::data::{Dataset, Split};
use crate::representation::some_sites;
use crate::settings::CalibrationSettings;

/// Sites that are in memory at the same time, but for those of the last image.
const SITES_AT_ONCE: usize = 16_384;
/// Sites that the stored ones are chosen among, for each stored one.
const CANDIDATES: usize = 12;

/// What a model says of the sites of an image.
pub struct SitesOfImage {
    /// Sums over the sites.
    pub score: Score,
    /// Of each site.
    pub parts: Parts,
    /// The length of each site's x: its distance from the mean, and where x is whitened, the Mahalanobis
    /// distance of its features.
    pub lengths: Vec<f32>,
}

impl SitesOfImage {
    /// Of an image, from the scores and the x of its sites.
    ///
    /// # Errors
    /// When it has no site.
    pub(super) fn new(bank: &SiteBank, scores: &[Score], x: &[f32]) -> anyhow::Result<Self> {
        let length = |x: &[f32]| x.iter().map(|value| value * value).sum::<f32>().sqrt();
        Ok(Self {
            score: sum_sites(scores).context("an image has no site")?,
            parts: bank.parts(scores, x),
            lengths: x.chunks(bank.values()).map(length).collect(),
        })
    }
}

/// Scores the sites of images, in the order of `images`, which gives as many values at a time as whole
/// images have.
///
/// # Errors
/// When a chain diverges, or a run fails.
pub fn score_sites(
    inference: &mut Inference,
    langevin: &Langevin,
    bank: &SiteBank,
    images: impl Iterator<Item = anyhow::Result<Vec<f32>>>,
    progress: impl FnMut(usize),
) -> anyhow::Result<Vec<SitesOfImage>> {
    let of = |scores: &[Score], x: &[f32]| SitesOfImage::new(bank, scores, x);
    score_each(inference, langevin, images, of, progress)
}

/// What `of` makes of the scores and the x of the sites of each image; the images come as in [`score_sites`].
///
/// # Errors
/// When a chain diverges, or a run or `of` fails.
pub(super) fn score_each<T: Send>(
    inference: &mut Inference,
    langevin: &Langevin,
    images: impl Iterator<Item = anyhow::Result<Vec<f32>>>,
    of: impl Fn(&[Score], &[f32]) -> anyhow::Result<T> + Sync,
    mut progress: impl FnMut(usize),
) -> anyhow::Result<Vec<T>> {
    let mut all = Vec::new();
    for some in images {
        let some = some?;
        let x = inference.preprocess(&some)?;
        let scores = inference.score(&x, langevin, SCORE_SEED, &mut |_| ())?;
        ensure!(
            scores.iter().all(|score| score.log_joint.is_finite()),
            "some chains diverged; fit with a smaller inference.step_size"
        );
        let n = some.len() / inference.image().pixels();
        let images = scores
            .par_chunks(scores.len() / n)
            .zip(x.par_chunks(x.len() / n));
        let scored: Vec<T> = images
            .map(|(scores, x)| of(scores, x))
            .collect::<anyhow::Result<_>>()?;
        all.extend(scored);
        progress(all.len());
    }
    Ok(all)
}

/// The images at `indices`, of `sites` sites each, some at a time.
pub fn gathered(
    dataset: &Dataset,
    indices: &[usize],
    sites: usize,
) -> impl Iterator<Item = anyhow::Result<Vec<f32>>> {
    let chunks = indices.chunks(images_at_once(sites));
    chunks.map(|indices| Ok(dataset.gather(indices)))
}

fn images_at_once(sites: usize) -> usize {
    (SITES_AT_ONCE / sites.max(1)).max(1)
}

/// Stores sites of the training images unless a `bank` is given, chooses the rule by which a map and a
/// score are made, and scores the calibration images.
///
/// # Errors
/// When there are too few images, a chain diverges, or a run fails.
pub(super) fn calibrate(
    inference: &mut Inference,
    manifest: &Manifest,
    settings: &CalibrationSettings,
    dataset: &Dataset,
    split: &Split,
    bank: Option<SiteBank>,
) -> anyhow::Result<Calibration> {
    let representation = &manifest.representation;
    let grid = SiteGrid {
        rows: representation.rows,
        columns: representation.columns,
    };
    let bank = match bank {
        Some(bank) => bank,
        None => bank_of_fit(inference, manifest, settings, dataset, split)
            .context("the fitted images make no memory bank (calibration.sites)")?,
    };
    let langevin = &manifest.langevin;
    let n = split.calibration.len();
    eprintln!("scoring {n} normal images that were kept out, site by site");
    let bar = ProgressBar::new(n as u64);
    let normal = score_sites(
        inference,
        langevin,
        &bank,
        gathered(dataset, &split.calibration, grid.sites()),
        |done| bar.set_position(done as u64),
    )?;
    bar.finish_and_clear();
    let rule = choose_rule(inference, langevin, &bank, grid, dataset, split, &normal)?;
    let (scores, parts): (Vec<Score>, Vec<Parts>) = normal
        .into_iter()
        .map(|image| (image.score, image.parts))
        .unzip();
    let sites = SiteCalibration::new(bank, grid, rule, &parts)
        .context("the calibration images make no calibration (calibration.count)")?;
    Ok(Calibration::from_sites(&scores, sites)?)
}

fn bank_of_fit(
    inference: &mut Inference,
    manifest: &Manifest,
    settings: &CalibrationSettings,
    dataset: &Dataset,
    split: &Split,
) -> anyhow::Result<SiteBank> {
    let candidates = candidates(inference, manifest, dataset, &split.train, settings.sites)?;
    Ok(SiteBank::fit(
        &candidates.x,
        manifest.representation.values,
        &candidates.images,
        settings.sites,
        settings.split_seed,
    )?)
}

/// Sites that those of a memory bank are chosen among.
pub(super) struct Candidates {
    /// n x D.
    pub(super) x: Vec<f32>,
    /// The image of each, by its place among `images`, n.
    pub(super) images: Vec<u32>,
}

/// As many sites of each of `images`, for a bank of at most `most` sites.
pub(super) fn candidates(
    inference: &mut Inference,
    manifest: &Manifest,
    dataset: &Dataset,
    images: &[usize],
    most: usize,
) -> anyhow::Result<Candidates> {
    let values = manifest.representation.values;
    let sites = manifest.sites();
    let each = some_sites(most.saturating_mul(CANDIDATES), images.len(), sites);
    let mut candidates = Candidates {
        x: Vec::new(),
        images: Vec::new(),
    };
    let mut number = 0;
    for intensities in gathered(dataset, images, sites) {
        let x = inference.preprocess(&intensities?)?;
        for image in x.chunks(sites * values) {
            for site in each.of(number) {
                candidates.x.extend(&image[site * values..][..values]);
                candidates.images.push(number as u32);
            }
            number += 1;
        }
    }
    Ok(candidates)
}
