//! The scores of test images, of whole images and of sites alike, and the columns of a report.

use anyhow::ensure;
use indicatif::ProgressBar;
use lfbm_bundle::Bundle;
use lfbm_bundle::manifest::Decision;
use lfbm_detector::sites::{SiteCalibration, SiteScore};
use lfbm_detector::{Comparison, LocalCalibration, Parts, Score};
use lfbm_runtime::{Inference, SCORE_SEED};

use crate::calibrate::{SitesOfImage, gathered, score_sites};
use crate::data::Dataset;

/// The scores of a test image.
pub(super) struct Scored {
    /// Of the image; of sites, their sums.
    pub(super) score: Score,
    /// In comparison with normal images.
    pub(super) compared: Compared,
}

/// What an image is in comparison with normal ones.
pub(super) enum Compared {
    /// A whole image.
    Whole {
        /// What the local score is made of.
        parts: Parts,
        /// High for an anomaly.
        local_score: f64,
    },
    /// The sites of an image.
    Sites {
        /// The map and its scores.
        scores: SiteScore,
        /// The score of the map that the log-joints make alone.
        density: f64,
        /// The score of the map that the distances make alone.
        distance: f64,
        /// The largest mean distance of 3 x 3 sites to their nearest normal ones.
        patch_distance: f64,
        /// The largest Mahalanobis distance of a site.
        mahalanobis: f64,
    },
}

/// A column of a report: its name in files, its title in tables, and its value, high for an anomaly.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) value: fn(&Scored) -> f64,
}

const DENSITIES: [Column; 3] = [
    Column {
        name: "log_joint",
        title: "log joint",
        value: |scored| -scored.score.log_joint,
    },
    Column {
        name: "log_prior",
        title: "log p(z)",
        value: |scored| -scored.score.log_prior,
    },
    Column {
        name: "log_likelihood",
        title: "log p(x|z)",
        value: |scored| -scored.score.log_likelihood,
    },
];

/// Of whole images.
const WHOLE: [Column; 4] = [
    Column {
        name: "local_score",
        title: "local score",
        value: |scored| scored.decisive(),
    },
    Column {
        name: "nearest_distance",
        title: "distance to the nearest normal image",
        value: |scored| scored.of_parts(|parts| parts.pixels.nearest),
    },
    Column {
        name: "nearest_edge_distance",
        title: "distance to the nearest edge map",
        value: |scored| scored.of_parts(|parts| parts.edges.nearest),
    },
    Column {
        name: "relative_edge_distance",
        title: "distance to the 10 nearest edge maps over their own",
        value: |scored| scored.of_parts(|parts| parts.edges.relative),
    },
];

/// Of sites.
const SITES: [Column; 5] = [
    Column {
        name: "site_score",
        title: "site score",
        value: |scored| scored.decisive(),
    },
    Column {
        name: "site_density",
        title: "site score of the log joints alone",
        value: |scored| match &scored.compared {
            Compared::Sites { density, .. } => *density,
            Compared::Whole { .. } => f64::NAN,
        },
    },
    Column {
        name: "site_distance",
        title: "site score of the distances alone",
        value: |scored| match &scored.compared {
            Compared::Sites { distance, .. } => *distance,
            Compared::Whole { .. } => f64::NAN,
        },
    },
    Column {
        name: "patch_distance",
        title: "largest distance of 3 x 3 sites (PatchCore's rule)",
        value: |scored| match &scored.compared {
            Compared::Sites { patch_distance, .. } => *patch_distance,
            Compared::Whole { .. } => f64::NAN,
        },
    },
    Column {
        name: "mahalanobis",
        title: "largest Mahalanobis distance of a site",
        value: |scored| match &scored.compared {
            Compared::Sites { mahalanobis, .. } => *mahalanobis,
            Compared::Whole { .. } => f64::NAN,
        },
    },
];

/// The columns of a report on a bundle, the score that compares with normal images first.
pub(super) fn columns(bundle: &Bundle) -> impl Iterator<Item = &'static Column> {
    let own: &[Column] = match bundle.calibration().comparison() {
        Comparison::Local(_) => &WHOLE,
        Comparison::Sites(_) => &SITES,
    };
    let (first, others) = own.split_at(1);
    first.iter().chain(&DENSITIES).chain(others)
}

impl Scored {
    /// The score that compares the image with normal ones: the local score, or that of sites.
    pub(super) fn decisive(&self) -> f64 {
        match &self.compared {
            Compared::Whole { local_score, .. } => *local_score,
            Compared::Sites { scores, .. } => scores.score,
        }
    }

    /// The score that makes the verdict, high for an anomaly.
    pub(super) fn verdict_score(&self, decision: Decision) -> f64 {
        match decision {
            Decision::LogJoint => -self.score.log_joint,
            Decision::Local | Decision::Sites => self.decisive(),
        }
    }

    /// The map of its sites; `None` of a whole image.
    pub(super) fn map(&self) -> Option<&[f32]> {
        match &self.compared {
            Compared::Whole { .. } => None,
            Compared::Sites { scores, .. } => Some(&scores.map),
        }
    }

    fn of_parts(&self, value: fn(&Parts) -> f64) -> f64 {
        match &self.compared {
            Compared::Whole { parts, .. } => value(parts),
            Compared::Sites { .. } => f64::NAN,
        }
    }
}

/// Scores the images at `indices`, in that order.
///
/// # Errors
/// When a chain diverges, or a run fails.
pub(super) fn score(
    bundle: &Bundle,
    inference: &mut Inference,
    dataset: &Dataset,
    indices: &[usize],
) -> anyhow::Result<Vec<Scored>> {
    let bar = ProgressBar::new(indices.len() as u64);
    let progress = |done: usize| bar.set_position(done as u64);
    let scored = match bundle.calibration().comparison() {
        Comparison::Local(local) => {
            whole_images(bundle, local, inference, &dataset.gather(indices), progress)?
        }
        Comparison::Sites(sites) => {
            let langevin = &bundle.manifest().langevin;
            let images = gathered(dataset, indices, bundle.manifest().sites());
            let images = score_sites(inference, langevin, sites.bank(), images, progress)?;
            let scored = images.into_iter().map(|image| of_sites(sites, image));
            scored.collect::<anyhow::Result<_>>()?
        }
    };
    bar.finish_and_clear();
    Ok(scored)
}

fn whole_images(
    bundle: &Bundle,
    local: &LocalCalibration,
    inference: &mut Inference,
    images: &[f32],
    mut progress: impl FnMut(usize),
) -> anyhow::Result<Vec<Scored>> {
    let langevin = &bundle.manifest().langevin;
    let scores = inference.score(images, langevin, SCORE_SEED, &mut progress)?;
    ensure!(
        scores.iter().all(|score| score.log_joint.is_finite()),
        "some chains diverged; fit with a smaller inference.step_size"
    );
    let x = inference.preprocess(images)?;
    let pixels = inference.image().pixels();
    let scored = scores.into_iter().zip(x.chunks(pixels)).map(|(score, x)| {
        let parts = local.parts(x, score.log_joint);
        Scored {
            score,
            compared: Compared::Whole {
                local_score: local.score(&parts),
                parts,
            },
        }
    });
    Ok(scored.collect())
}

fn of_sites(calibration: &SiteCalibration, image: SitesOfImage) -> anyhow::Result<Scored> {
    let SitesOfImage {
        score,
        parts,
        lengths,
    } = image;
    let pooled = |weights| {
        let scorer = calibration.scorer().with_weights(weights)?;
        anyhow::Ok(scorer.pooled(&scorer.map(&parts)))
    };
    let largest = lengths.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let grid = calibration.scorer().grid();
    Ok(Scored {
        compared: Compared::Sites {
            density: pooled([1.0, 0.0])?,
            distance: pooled([0.0, 1.0])?,
            patch_distance: grid.largest_mean(&parts.distance),
            mahalanobis: largest.into(),
            scores: calibration.score(&parts),
        },
        score,
    })
}
